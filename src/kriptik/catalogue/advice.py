"""What the catalogue knows beside models, methods and prices: languages, territories, what to expect, and prices of tokens.

Every fact has its source and the day it was read. A broken entry raises `catalogue_broken` as in `load`.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from kriptik.catalogue.load import FOLDER, checked, load_catalogue, read_toml
from kriptik.spec.catalogue import Bar, MethodTier, ModelEndpoint, Scratch, SpokenLanguages, TokenPrice
from kriptik.spec.errors import KriptikError

MANY = "*"
"""Stands for about a hundred languages or more."""


@dataclass(frozen=True)
class Advice:
    """The facts by id. Treat them as read-only: they are shared."""

    languages: dict[str, SpokenLanguages]
    """Model id → what its makers say it speaks."""
    unions: dict[str, list[str]]
    territories: dict[str, str]
    """ISO 3166 code → its name in a sentence."""
    quality: dict[str, dict[MethodTier, str]]
    """Capability → tier → what to expect, in words."""
    bars: dict[str, Bar]
    scratch: Scratch
    token_prices: dict[str, TokenPrice]
    default_models: dict[str, str]
    """Provider → the language model that is asked unless another is named."""
    endpoints: dict[str, ModelEndpoint]
    """Provider → where its language models can be asked as judges."""


@cache
def load_advice() -> Advice:
    """The product's advice, read once per process."""
    return read_advice(FOLDER)


def read_advice(folder: Path) -> Advice:
    """Read and check the files under `folder`. Raises KriptikError `catalogue_broken`."""
    spoken = read_toml(folder / "languages.toml", "languages.toml")
    groups = [checked(SpokenLanguages, "languages.toml", name, {"id": name, **fields}) for name, fields in spoken.items()]
    places = read_toml(folder / "territories.toml", "territories.toml")
    hopes = read_toml(folder / "expectations.toml", "expectations.toml")
    tokens = read_toml(folder / "language_models.toml", "language_models.toml")
    advice = Advice(
        languages={model: group for group in groups for model in group.models},
        unions=places["unions"],
        territories=places["titles"],
        quality=hopes["quality"],
        bars=_entries(Bar, "expectations.toml", hopes["benchmarks"]),
        scratch=checked(Scratch, "expectations.toml", "scratch", hopes["scratch"]),
        token_prices=_entries(TokenPrice, "language_models.toml", tokens["prices"]),
        default_models=tokens["default"],
        endpoints=_entries(ModelEndpoint, "language_models.toml", tokens.get("endpoints", {})),
    )
    _references_hold(advice, groups)
    return advice


def speaks(model_id: str, language: str) -> bool | None:
    """Whether a model's makers say it speaks a language (ISO 639-1); None where nothing is known."""
    entry = load_advice().languages.get(model_id)
    if entry is None:
        return None
    return MANY in entry.languages or language.split("-")[0] in entry.languages


def lies_in(territory: str, excluded: list[str]) -> bool:
    """Whether a territory, or a union it belongs to or stands for, is among those that a licence leaves out."""
    unions = load_advice().unions
    return any(code == territory or territory in unions.get(code, ()) or code in unions.get(territory, ()) for code in excluded)


def place_name(territory: str) -> str:
    """A territory as it stands in a sentence; the code where it has no name here."""
    return load_advice().territories.get(territory, territory)


def bar_of(product: str | None) -> Bar | None:
    """What is known of a product that was held up as the bar, by the start of its name ("suno-v4" is Suno)."""
    if not product:
        return None
    name = product.casefold()
    return next((bar for key, bar in load_advice().bars.items() if name.startswith(key)), None)


def token_price(provider: str, model: str) -> TokenPrice | None:
    """A language model's price; the dearest listed of its provider where it is not listed; None where none is."""
    prices = load_advice().token_prices
    if model in prices:
        return prices[model]
    of_provider = [price for price in prices.values() if price.provider == provider]
    return max(of_provider, key=lambda price: (price.output_usd, price.input_usd), default=None)


def _entries(noun: type[Any], file: str, table: dict[str, Any]) -> dict[str, Any]:
    return {name: checked(noun, file, name, {"id": name, **fields}) for name, fields in table.items()}


def _references_hold(advice: Advice, groups: list[SpokenLanguages]) -> None:
    known = load_catalogue()
    used = [("languages.toml", group.id, "models", model, known.models) for group in groups for model in group.models]
    used += [("expectations.toml", bar.id, "adapt", bar.adapt, known.models) for bar in advice.bars.values()]
    used += [("expectations.toml", name, "*", name, known.capabilities) for name in advice.quality]
    used += [("expectations.toml", "scratch", "gpu", advice.scratch.gpu, known.gpus)]
    used += [("language_models.toml", "default", who, model, advice.token_prices) for who, model in advice.default_models.items()]
    for file, entry, field, value, among in used:
        if value not in among:
            fields = {"file": file, "entry": entry, "field": field}
            sentence = f"Catalogue file {file}, entry '{entry}', field '{field}': there is no '{value}'."
            raise KriptikError("catalogue_broken", sentence, "Correct the entry.", status=500, fields=fields)
