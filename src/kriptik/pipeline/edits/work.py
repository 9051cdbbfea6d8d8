"""Choices on their way through an edit: what was asked, what followed, what must not move."""

from collections.abc import Callable
from dataclasses import dataclass, field

from kriptik.pipeline.edits.text import Ask
from kriptik.pipeline.plan import moves
from kriptik.pipeline.plan.site import Case
from kriptik.spec.errors import BadInputError
from kriptik.spec.job import StageSettings
from kriptik.spec.plan import Choices

BOUNDS: dict[str, tuple[float, float]] = {
    "epochs": (0.05, 1000),
    "max_steps": (1, 10_000_000),
    "batch_size": (1, 65_536),
    "learning_rate": (1e-8, 1.0),
    "seq_len": (8, 1_048_576),
    "rank": (1, 1024),
    "alpha": (0.1, 4096),
    "dropout": (0, 0.9),
    "warmup_ratio": (0, 0.9),
    "weight_decay": (0, 1),
    "data_amount": (1, 1e10),
    "resolution": (64, 8192),
    "gpu_count": (1, 1024),
    "notify_at_percent": (1, 99),
    "freeze_at_percent": (1, 100),
    "budget_max_usd": (0.01, 1e7),
}


STEP_UP, STEP_DOWN = 2.0, 0.5
FIELD = {"seq_len": "max_seq_len"}


@dataclass
class Work:
    """Choices on their way through an edit, and why each field moved."""

    choices: Choices
    case: Case
    asked: dict[str, str] = field(default_factory=dict)
    """Field → what the person said."""
    reasons: dict[str, str] = field(default_factory=dict)
    frozen: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)
    reset: bool = False
    """Settings set by hand were given up."""
    picked: set[str] = field(default_factory=set)
    """Fields that came with a whole option: chosen, but not fixed, so that the other options stay what they were."""
    met: set[str] = field(default_factory=set)
    """Wishes of the whole plan that an earlier one met along the way."""

    def to(self, after: Choices, said: str, *fields: str, why: str = "") -> None:
        """Moves to `after`; `fields` were asked for, what else differs followed."""
        held = frozenset(fields) | self.frozen | self.asked.keys()
        fitted, reasons = moves.refit(self.choices, after, self.case, held)
        self.reasons.update(reasons)
        for name in fields:
            self.asked[name] = said
        self.picked -= set(fields)
        if why:
            for name in differing(self.choices, fitted):
                self.reasons.setdefault(name, why)
        self.choices = fitted

    def set(self, said: str, **updates: object) -> None:
        """Sets fields of the choices."""
        self.to(self.choices.model_copy(update=updates), said, *updates)

    def step(self, found: tuple[Choices, str] | None, said: str, goal: str) -> bool:
        """Takes a step that `moves` found towards a goal; False where there is none."""
        if found is None or self._touches_frozen(found[0]):
            return False
        for name in differing(self.choices, found[0]):
            self.reasons[name] = f"{goal}: {found[1]}"
        self.choices = found[0]
        return True

    def held(self) -> Choices:
        """The choices with what this edit fixed marked as fixed, so that later steps leave it alone."""
        names = [*self.choices.custom_settings, *self.frozen, *self.asked]
        return self.choices.model_copy(update={"custom_settings": list(dict.fromkeys(names))})

    def search(self, find: Callable[[Choices, Case], tuple[Choices, str] | None]) -> tuple[Choices, str] | None:
        """A step found from the held choices, with the marks taken off again."""
        found = find(self.held(), self.case)
        if found is None:
            return None
        return found[0].model_copy(update={"custom_settings": self.choices.custom_settings}), found[1]

    def _touches_frozen(self, after: Choices) -> bool:
        return bool(self.frozen & set(differing(self.choices, after)))


def amount(ask: Ask, now: float, axis: str) -> float:
    """The new value of a figure; 422 outside its bounds."""
    value = float(str(ask.value)) if ask.value is not None else 0.0
    results = {
        "set": value,
        "add": now + value,
        "scale": now * value,
        "less": now * STEP_DOWN,
        "more": now * STEP_UP,
        "cheaper": now * STEP_DOWN,
    }
    found = results.get(ask.op, value)
    if axis == "epochs" and ask.op == "more":
        found = now + 1 if now >= 1 else now * 2
    if ask.op in ("less", "scale") and axis in ("batch_size", "gpu_count", "rank", "seq_len", "max_steps") and found < 1:
        found = 1.0
    low, high = BOUNDS[axis]
    if not low <= found <= high:
        raise BadInputError(
            "out_of_bounds",
            f"{axis.replace('_', ' ')} must lie between {low:g} and {high:g}, not {found:g}.",
            "Name another value.",
        )
    return found


def differing(before: Choices, after: Choices) -> list[str]:
    names = [
        n for n in Choices.model_fields if n not in ("settings", "custom_settings") and getattr(before, n) != getattr(after, n)
    ]
    return names + differing_settings(before.settings, after.settings)


def differing_settings(before: StageSettings, after: StageSettings) -> list[str]:
    return [name for name in StageSettings.model_fields if getattr(before, name) != getattr(after, name)]
