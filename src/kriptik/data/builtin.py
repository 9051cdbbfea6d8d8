"""Sample data that installed packages ship: read where they lie, credited where they are used."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from kriptik.spec.errors import NotFoundError


@dataclass(frozen=True)
class Sample:
    """A built-in data set: which file of which package, under what licence, whom to credit."""

    name: str
    title: str
    package: str
    module: str
    file: str
    licence: str
    credit: str

    def path(self) -> Path:
        """Where its file lies. Raises NotFoundError where the package is not installed."""
        spec = importlib.util.find_spec(self.module)
        if spec is None or not spec.submodule_search_locations:
            raise NotFoundError("sample_missing", f"The package {self.package} is not installed.", f"pip install {self.package}")
        return Path(next(iter(spec.submodule_search_locations))) / self.file


SAMPLES = {
    sample.name: sample
    for sample in (
        Sample(
            name="zaragoza-construction-faq",
            title="Customer questions of a building firm (English)",
            package="zaragoza-construction-faq",
            module="zaragoza_construction_faq",
            file="data/faq-en-alpaca.jsonl",
            licence="CC BY 4.0",
            credit="Questions and answers by Zaragoza AB, CC BY 4.0.",
        ),
        Sample(
            name="zaragoza-construction-faq-sv",
            title="Customer questions of a building firm (Swedish)",
            package="zaragoza-construction-faq",
            module="zaragoza_construction_faq",
            file="data/faq-alpaca.jsonl",
            licence="CC BY 4.0",
            credit="Questions and answers by Zaragoza AB, CC BY 4.0.",
        ),
    )
}


def sample(name: str) -> Sample:
    """The built-in data set of that name."""
    if name not in SAMPLES:
        raise NotFoundError("no_such_sample", f"There is no built-in data set {name[:100]!r}.", f"Known: {', '.join(SAMPLES)}.")
    return SAMPLES[name]
