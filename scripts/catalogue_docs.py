"""Writes docs/methods.md and docs/models-and-gpus.md from the catalogue. Run this file after a change there."""

from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

from kriptik.catalogue.load import load_catalogue
from kriptik.catalogue.points import ordered_methods
from kriptik.catalogue.proof import method_statuses, pair_statuses
from kriptik.spec.catalogue import GbRange, MethodEntry, MethodStatus, ModelEntry, Point

DOCS = Path(__file__).resolve().parents[1] / "docs"
NOTE = "<!-- Written by scripts/catalogue_docs.py from the catalogue; change the catalogue, not this file. -->\n"
CATEGORIES = {
    "peft": "Parameter-efficient",
    "full": "Full training",
    "alignment": "Alignment",
    "distributed": "Distributed",
    "specialised": "Specialised",
    "hybrid": "Hybrid",
    "beyond": "Beyond the list",
}


def methods_page() -> str:
    """Every method: what it is for, when to choose it, what it trains, whether it trains here."""
    statuses = {s.id: s for s in method_statuses()}
    ready = sum(s.status == "trainable" for s in statuses.values())
    parts = [
        "# Methods\n",
        NOTE,
        "A method is a point on three axes: **adaptation** (what is trained) × **objective** (what is minimised) ×",
        "**strategy** (how it is spread). An axis shown as `·` is open: the capability supplies it. A hybrid is a list of",
        "points, each from the checkpoint of the one before. The status is computed from the conformance suite's proof; a",
        "method whose code has changed since is planned until it is proved again; `kriptik methods` tells why one is planned.",
        f"Of {len(statuses)} methods {ready} train now.\n",
        _matrix(),
    ]
    for category, several in groupby(ordered_methods(), key=lambda m: m.category):
        parts.append(f"## {CATEGORIES[category]}\n")
        for method in several:
            parts.append(_method(method, statuses[method.id]))
    return "\n".join(parts)


def _matrix() -> str:
    """Every method × what it makes sense for: whether it trains there, and why not."""
    pairs, ways = pair_statuses(), load_catalogue().ways.values()
    places = [place for one in load_catalogue().capabilities for place in (one, *(w.id for w in ways if w.capability == one))]
    found, reasons = {(pair.method, pair.place): pair for pair in pairs}, dict[str, int]()

    def cell(method: str, place: str) -> str:
        pair = found.get((method, place))
        if pair is None or pair.reason is None:
            return "trains" if pair else ""
        return f"planned ({reasons.setdefault(pair.reason, len(reasons) + 1)})"

    rows = [(f"`{one.id}`", *(cell(one.id, place) for place in places)) for one in ordered_methods()]
    other = "; ".join(f"`{way.id}` is {way.capability} by models of the families {', '.join(way.families)}" for way in ways)
    said = f"An empty cell: it makes no sense there, or will not be there. {other}.\n"
    table = _table(("Method", *(place.removesuffix("_generation") for place in places)), rows)
    return "\n".join(["## What trains for what\n", said, table, *(f"({number}) {why}  " for why, number in reasons.items()), ""])


def _method(method: MethodEntry, status: MethodStatus) -> str:
    state = f"trains ({', '.join(status.capabilities)})" if status.status == "trainable" else "planned"
    lines = [f"### `{method.id}`: {method.title}\n", f"{method.summary}\n", "| | |", "|---|---|"]
    rows = [
        ("Status", state),
        ("Point", " → ".join(map(_point, method.stages))),
        ("Same as", method.alias_note or ""),
        ("Use for", ", ".join(method.capabilities)),
        ("Families", f"{', '.join(method.families)}: {method.families_why}" if method.families else ""),
        ("Tier", f"{method.tier}" + (f", {method.min_gpus} GPUs or more" if method.min_gpus > 1 else "")),
        ("Data", " → ".join(need.replace("_", " ") for need in method.data_types)),
        ("Image", f"`{method.image}`"),
        ("Limit", method.why_not or ""),
        ("Source", method.source),
    ]
    lines += [f"| {name} | {_cell(text)} |" for name, text in rows if text]
    return "\n".join(lines) + "\n"


def _point(point: Point) -> str:
    axes = " × ".join(value or "·" for value in (point.adaptation, point.objective, point.strategy))
    extra = [f"{point.base_precision} base"] if point.base_precision else []
    extra += [f"{name} {value}" for name, value in point.options.items()]
    return f"`{axes}`" + (f" ({', '.join(extra)})" if extra else "")


def models_page() -> str:
    """Base models per capability, GPUs and dated prices."""
    catalogue = load_catalogue()
    parts = [
        "# Models, GPUs and prices\n",
        NOTE,
        "Memory is the smallest practical for training, in GB over all GPUs, and a range where sources disagree. Licences are",
        "as read on the date in the catalogue: the model's card at download time binds. No GPU was run by the authors.",
        "**Bold**: recommended.\n",
    ]
    for capability in catalogue.capabilities.values():
        parts += [f"## {capability.title} (`{capability.id}`)\n", capability.description + "\n"]
        parts.append(f"Starting GPU: {capability.gpu_count} × {capability.gpu}. Measured by: {capability.metric}.\n")
        fitting = [m for m in catalogue.models.values() if capability.id in m.capabilities]
        rows = [_model(m) for m in sorted(fitting, key=lambda m: (m.params_b, m.id))]
        parts.append(_table(("Model", "Size", "Licence", "Commercial", "QLoRA / LoRA / full", "Trains here"), rows))
    parts.append("## GPUs\n")
    gpus = [(g.id, g.grade, f"{g.vram_gb:g}", f"{g.tflops_bf16:g}", f"{g.bandwidth_gb_s:g}") for g in catalogue.gpus.values()]
    parts.append(_table(("GPU", "Grade", "Memory (GB)", "bf16 (TFLOP/s)", "Bandwidth (GB/s)"), gpus))
    parts += ["## Prices\n", "Dollars per GPU-hour, the newest observation of each; ask again before money is authorised.\n"]
    quotes = sorted(catalogue.prices.values(), key=lambda p: (p.gpu, p.usd_per_hour))
    prices = [(p.gpu, p.provider, f"{p.usd_per_hour:.2f}", p.kind, str(p.observed_on), p.source) for p in quotes]
    parts.append(_table(("GPU", "Provider", "$/h", "Kind", "Seen on", "Source"), prices))
    parts.append("## Names that are corrected\n")
    wrong = [(r.name, m.id, r.because) for m in catalogue.models.values() for r in m.replaces]
    parts.append(_table(("Asked for", "Answered with", "Because"), wrong))
    return "\n".join(parts)


def _model(model: ModelEntry) -> tuple[str, ...]:
    name = f"**{model.id}**" if model.recommended else model.id
    size = f"{model.params_b:g}B" + (f" ({model.active_params_b:g}B active)" if model.active_params_b else "")
    away = model.licence.excluded_territories
    commercial = model.licence.commercial + (f", not in {' '.join(away)}" if away else "")
    licence = model.licence.name + (", gated" if model.licence.gated else "")
    need = model.vram_gb
    memory = " / ".join(map(_gb, (need.qlora, need.lora, need.full)))
    needed = load_catalogue().needs.get(model.family)
    trains = f"with {' and '.join(needed.packages)}" if needed else "yes"
    return name, size, licence, commercial, memory, trains if model.trainable_family else "not yet"


def _gb(need: GbRange | None) -> str:
    if need is None:
        return "–"
    return f"{need.low:g}" if need.low == need.high else f"{need.low:g}–{need.high:g}"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


PAGES = {"methods.md": methods_page, "models-and-gpus.md": models_page}

if __name__ == "__main__":
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), encoding="utf-8")
