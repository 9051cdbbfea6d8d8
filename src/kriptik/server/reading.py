"""Which parser reads requests: by settings, the offline one unless a model is configured."""

import os
from decimal import Decimal
from urllib.parse import urlsplit

from kriptik.catalogue.advice import load_advice, token_price
from kriptik.llm.claude import Claude
from kriptik.llm.compatible import Compatible
from kriptik.llm.purse import Paid, Prices, Purse
from kriptik.pipeline.intent.model_parser import ModelParser
from kriptik.pipeline.intent.parser import IntentParser, OfflineParser
from kriptik.server.settings import Settings

OLLAMA = "http://127.0.0.1:11434/v1"
HERE = ("127.0.0.1", "localhost", "::1")


def parser_of(settings: Settings) -> IntentParser:
    """The configured parser. Every paid call goes through the purse under `home`."""
    model = model_of(settings)
    return ModelParser(model) if model is not None else OfflineParser()


def model_of(settings: Settings) -> Paid | None:
    """The configured language model, paid from the purse; None where none is."""
    if settings.llm == "off":
        return None
    key = os.environ.get(settings.llm_key_env, "")
    name = name_of(settings)
    if settings.llm == "claude":
        model: Claude | Compatible = Claude(name, key, settings.llm_url, settings.llm_thinking_tokens, settings.llm_timeout_s)
        free = False
    else:
        url = settings.llm_url or OLLAMA
        model = Compatible(name, url, key, timeout_s=settings.llm_timeout_s)
        free = urlsplit(url).hostname in HERE
    fallback = Prices(Decimal(0), Decimal(0)) if free else _listed(settings.llm, name)
    given = (settings.llm_input_usd_per_million, settings.llm_output_usd_per_million)
    prices = Prices(given[0] if given[0] is not None else fallback.input, given[1] if given[1] is not None else fallback.output)
    return Paid(model, prices, Purse(settings.home / "llm-ledger.jsonl", settings.llm_cap_usd))


def name_of(settings: Settings) -> str:
    """The language model that is asked: the operator's, else the catalogue's."""
    return settings.llm_model or load_advice().default_models["claude"]


def _listed(provider: str, model: str) -> Prices:
    """Dollars for a million tokens as the catalogue lists them; of a model that it does not know, the dearest of its provider,
    and for other hosts the dearest of all."""
    known = token_price(provider, model) or max(load_advice().token_prices.values(), key=lambda one: one.output_usd)
    return Prices(known.input_usd, known.output_usd)
