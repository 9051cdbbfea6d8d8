"""Nouns of training data: a dataset, what the checks found, how far it goes, and the prepared files.

Row numbers are 1-based. JSONL, txt and md count lines of the file, CSV and TSV count records with the header as row 1
(as a spreadsheet does), JSON and Parquet count entries.
"""

from datetime import datetime
from typing import Any, Literal

from pydantic import Field, JsonValue

from kriptik.spec.base import Noun
from kriptik.spec.job import DataRef

DataFormat = Literal[
    "messages", "prompt_completion", "alpaca", "sharegpt", "preferences", "kto", "text", "prompts", "checked", "pairs", "images",
    "sounds", "sound_pairs", "videos", "image_pairs", "video_pairs",
]
"""How the rows are laid out in the file. Several files in one archive may differ as long as their rows become one kind."""
RowKind = Literal[
    "messages", "text", "preferences", "feedback", "prompts", "checked", "pairs", "images", "image_messages", "image_preferences",
    "sounds", "sound_pairs", "videos", "image_pairs", "video_pairs",
]
"""What a row becomes:
messages     {"messages": [{"role", "content"}, …]}
text         {"text": str}
preferences  {"prompt": [message, …], "chosen": [message, …], "rejected": [message, …]}
feedback     {"prompt": [message, …], "completion": [message, …], "label": bool}
prompts      {"prompt": [message, …]}
checked      {"prompt": [message, …]} and how an answer is checked: "tests" (code), "schema" (JSON Schema), "pattern" (regular
             expression) or "task" (an entry of reasoning-gym); "answer", where one is known
pairs        {"query": str, "positive": str} and "negatives": [str, …] where there are any
images       {"image": path beside the rows' file, "caption": str, "width": pixels, "height": pixels}
image_messages, image_preferences
             as messages and preferences, "<image>" in a turn where a picture stands, and "images": [path beside the rows' file, …]
sounds       {"audio": path beside the rows' file, "text": what is spoken or what it sounds like, "origin": hash of the recording
             that it is a part of, "seconds": number, "rate": Hz, "peaks": [0 to 100, …] (its waveform)}, and "transcribed": who
             wrote the text down, where it did not come with the recording
videos       {"video": path beside the rows' file, "caption": str, "start" and "seconds": the part of the file that is meant,
             "width", "height": pixels, "fps": frames a second of the file, "origin": hash of the file}
sound_pairs  {"chosen_audio": path, "rejected_audio": path, "text": what both were to be}; seconds, rate, peaks of the better one
image_pairs, video_pairs
             {"chosen_image": path, "rejected_image": path, "caption": what both were to be}; of videos chosen_video and
             rejected_video; width and height (and seconds) of the better one
All rows of text with turns may have "tools": [a tool's JSON, …] where the file describes what can be called.
Prepared rows carry "key" as well: rows with the same key never sit on both sides of a split.
"""
DataOrigin = Literal["upload", "builtin", "huggingface", "web", "synthetic"]
Severity = Literal["info", "warning", "error"]
DataVerdict = Literal["too_few", "enough", "recommended", "flagship", "unknown"]


class Example(Noun):
    """One place where a finding shows. `text` is shortened, and masked where it is personal."""

    row: int
    column: str | None = None
    file: str | None = None
    text: str = ""
    after: str | None = None
    """The same piece after the fix that is offered; None where that drops the row, or where there is none."""


class Finding(Noun):
    """Something the checks found. error: training must not start on this; warning: look at it; info: worth knowing."""

    code: str
    severity: Severity
    count: int = Field(ge=0)
    sentence: str
    examples: list[Example] = []
    share: float = Field(default=0.0, ge=0)
    """Of all rows read."""
    fix: str | None = None
    """A fix that `prepare` can apply (a repair, or `drop_` and the code); None where it was handled or only a person can."""
    fixed: bool = False
    """The fix was applied: these rows were mended or left out."""


class Sufficiency(Noun):
    """How far the rows go, in rows. `tier` is the largest step of the requirement that is reached."""

    have: int
    need: int | None = None
    recommended: int | None = None
    flagship: int | None = None
    tier: DataVerdict = "unknown"
    sentence: str = ""


class DataReport(Noun):
    """What a file holds, what is wrong with it, and how it would be split."""

    dataset_id: str | None = None
    format: DataFormat
    kind: RowKind
    columns: dict[str, str] = {}
    """Which column plays which role (prompt, completion, chosen …)."""
    rows: int
    """Rows read."""
    usable: int
    """Rows left after empty, unusable and exactly repeated ones are out."""
    tokens_estimate: int
    """Tokens of the usable rows, guessed from characters (± 20 %)."""
    longest_tokens_estimate: int = 0
    train_rows: int
    eval_rows: int
    test_rows: int = 0
    overlap_rows: int
    """Held-out rows whose question or answer also occurs in training rows; counted after the split."""
    duplicates_dropped: int
    near_duplicates: int = 0
    """Rows nearly identical to an earlier one; they stay on the same side of the split."""
    languages: dict[str, int] = {}
    """Rows per guessed language, ISO 639-1; "other" where unsure."""
    findings: list[Finding] = []
    fixes: list[str] = []
    """Fixes that were applied, and will be when these rows are trained on."""
    sufficiency: Sufficiency
    preview: list[dict[str, JsonValue]] = []
    """The first few rows in their prepared form, shortened."""
    ready: bool = True
    """False when a finding is an error."""
    speech: bool = False
    """Recordings were examined as those of a voice."""


class Transcript(Noun):
    """What is said in a clip that came without words."""

    text: str = Field(max_length=5000)
    """Empty where no words were heard, or where the clip is to be left out."""
    by: str
    """The model that wrote it down, or "you"."""
    edited: bool = False
    checked: bool = False
    """A person read these words: corrected them, or lets them stand."""
    sure: float | None = Field(default=None, ge=0, le=1)
    """How likely the model held its words: the geometric mean of the probabilities of its tokens. None where it did not say, and
    for a person's words."""
    name: str = ""
    """The recording that the clip is of."""
    start: float = 0.0
    """Where it begins in the recording, in seconds."""
    seconds: float = 0.0


class DataRecipe(Noun):
    """What is done to a data set's rows before they are trained on. The same source and steps give the same bytes."""

    dataset_id: str
    source_sha256: str
    steps: dict[str, JsonValue]
    """As `recipe.json` holds them, and as `kriptik data fix --recipe` repeats them."""
    sha256: str
    """Hash of the steps: that of the prepared files' `recipeSha256`."""


class PreparedData(Noun):
    """Files ready to train on; made once per source, settings and seed."""

    train_path: str
    eval_path: str | None = None
    test_path: str | None = None
    train_sha256: str
    eval_sha256: str | None = None
    test_sha256: str | None = None
    settings_key: str
    """Hash of source and settings: the same key means the same files."""
    seed: int
    fixes: list[str] = []
    recipe_sha256: str = ""
    """Hash of what was done to the rows (`recipe.json` beside them): the same source and recipe give the same bytes."""
    source: str = ""
    licence: str = ""
    report: DataReport

    def ref(self) -> DataRef:
        """What goes into `job.json`; `sha256` is that of the training file."""
        return DataRef(
            train_path=self.train_path,
            eval_path=self.eval_path,
            train_rows=self.report.train_rows,
            eval_rows=self.report.eval_rows,
            sha256=self.train_sha256,
            overlap_rows=self.report.overlap_rows,
            source=self.source,
            licence=self.licence,
        )


class Dataset(Noun):
    """Rows someone may train on. Where they lie on disk is the server's business and not part of this noun."""

    id: str
    name: str
    format: DataFormat
    rows: int
    columns: list[str] = []
    bytes: int
    sha256: str
    source: DataOrigin
    licence: str = ""
    credit: str | None = None
    """Whom to credit, where the licence asks for it; shown wherever the data is used."""
    created_at: datetime | None = None
    report: DataReport | None = None


Row = dict[str, Any]
"""A canonical row, as `RowKind` describes."""
