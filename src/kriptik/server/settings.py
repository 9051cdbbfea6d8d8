"""What an operator may set, all by environment variables named KRIPTIK_<FIELD>."""

import os
from decimal import Decimal
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr

from kriptik.spec.base import Money, Noun

PREFIX = "KRIPTIK_"


class Settings(Noun):
    """Settings of one server process. Times in seconds, money in dollars."""

    home: Path = Field(default_factory=lambda: Path.home() / ".kriptik")
    """All state lives under this folder."""
    host: str = "127.0.0.1"
    port: int = Field(default=7860, ge=0, le=65535)
    url: str = ""
    """Where workers on this machine reach the server; default http://host:port."""
    public_url: str | None = None
    """How people reach this server (links in notices); default `url`."""
    worker_url: str | None = None
    """How workers on rented machines reach this server, with TLS; default `public_url`. Without either, none is rented."""
    storage_url: str | None = None
    """Where checkpoints and results of rented machines go: s3://bucket/prefix (keys by AWS_*); default through this server."""
    runpod_api_key: SecretStr | None = None
    runpod_image: str = ""
    """Container image whose entry point is `python -m kriptik.worker.pod`."""
    runpod_bootstrap: bool = False
    """The image is a plain one with Python: it gets the worker's code from this server and installs what is missing."""
    runpod_url: str = "https://api.runpod.io"
    runpod_cloud: Literal["any", "secure"] = "any"
    """secure: RunPod's own data centres alone."""
    runpod_disk_gb: int = Field(default=40, ge=10)
    checkpoint_alarm_s: float = Field(default=1800, gt=0)
    """A training run without a new checkpoint for so long is told to its owner."""
    bill_settle_s: float = Field(default=7200, ge=0)
    """A provider's bill counts as whole this long after the end; only then may it lower what the ledger holds."""
    allowed_hosts: str = ""
    """Further host names, comma-separated, that requests may name."""
    database_url: str | None = None
    local_price_per_hour: Money = Decimal(0)
    local_slots: int = Field(default=1, ge=1)
    """Training runs at a time on this machine; more are queued."""
    threads: int | None = None
    """Threads a local worker computes with; default all cores."""
    tick_s: float = Field(0.5, gt=0)
    lease_s: float = Field(default=30, gt=0)
    grace_s: float = Field(default=900, gt=0)
    boot_s: float = Field(default=600, gt=0)
    """How long a worker may take to its first word."""
    checkpoint_s: float = Field(default=20, gt=0)
    """Assumed time to save a checkpoint until it was measured."""
    teardown_s: float = Field(default=5, gt=0)
    """T: the provider confirms a terminate within this time."""
    budget_event_s: float = Field(default=2, gt=0)
    storage_price_per_gb_month: Money = Decimal(0)
    test_allowance_usd: Money = Decimal("0.50")
    """What a test session may cost; apart from the run's cap."""
    max_upload_mb: int = Field(default=2048, ge=1)
    resume_link_hours: float = Field(default=72, gt=0)
    fruitless_limit: int = Field(default=3, ge=1)
    """Automatic restarts without a new checkpoint before a run is given up."""

    search: str = "huggingface,arxiv"
    """Where data is looked for when somebody searches; empty: nowhere but in the catalogue."""
    arxiv_url: str = "https://export.arxiv.org/api/query"
    web_search: Literal["off", "searxng", "brave"] = "off"
    """Who searches the web: an instance of SearXNG, or Brave's API."""
    web_search_url: str | None = None
    web_search_key_env: str = "BRAVE_API_KEY"
    """Name of the environment variable that holds the key."""

    llm: Literal["off", "claude", "openai"] = "off"
    """Who reads requests: the offline parser alone, Claude, or a model behind an OpenAI-compatible endpoint (Ollama, vLLM)."""
    llm_model: str = ""
    """Default: the model that the catalogue names for Claude (`language_models.toml`)."""
    llm_url: str | None = None
    """Default: Anthropic's own, or Ollama's on this machine."""
    llm_key_env: str = "ANTHROPIC_API_KEY"
    """Name of the environment variable that holds the key."""
    llm_thinking_tokens: int = Field(default=64_000, ge=0)
    """Budget for thinking; 0 lets the model choose."""
    llm_timeout_s: float = Field(default=120, gt=0)
    """After this long the offline reading is taken."""
    llm_cap_usd: Money = Decimal(0)
    """What asking may cost, all calls together; nothing is spent unasked."""
    llm_input_usd_per_million: Money | None = None
    llm_output_usd_per_million: Money | None = None
    """Prices of the model's tokens. Without them the catalogue's count, and for a model that it does not list the dearest."""

    @classmethod
    def from_env(cls, **overrides: object) -> "Settings":
        """Reads KRIPTIK_*; `overrides` win."""
        found: dict[str, object] = {
            name: os.environ[PREFIX + name.upper()] for name in cls.model_fields if os.environ.get(PREFIX + name.upper())
        }
        found.update({name: value for name, value in overrides.items() if value is not None})
        settings = cls.model_validate(found)
        home = settings.home.expanduser().resolve()
        return settings.model_copy(update={"home": home, "url": settings.url or f"http://{settings.host}:{settings.port}"})

    @property
    def database(self) -> str:
        """SQLAlchemy URL; SQLite under `home` by default."""
        return self.database_url or f"sqlite:///{self.home / 'kriptik.db'}"

    @property
    def outside_url(self) -> str | None:
        """Where rented machines reach this server; None where nobody said so."""
        url = self.worker_url or self.public_url
        return url.rstrip("/") if url else None

    @property
    def link_base(self) -> str:
        """Start of every link sent to people."""
        return (self.public_url or self.url).rstrip("/")
