"""The runs of `estimates.py`: explicit tables, and the grid that a seed draws from them.

Every line of `METHODS` is drawn as often as it says, with model, rows, length, rank and rows per update at random among those that
go together. Left out, because no plan of them can be approved on a machine without a GPU: bases in four or eight bits, and
methods over several devices; and what needs another model to judge (RLAIF, constitutional AI, PPO). Seed 4 is what is judged; a
constant may be looked at on any other seed, never on this one. Seeds 1 and 3 were to be, until runs of theirs were looked at.
"""

import random
from dataclasses import asdict, dataclass
from typing import Any

SEED = 4
DEVELOPMENT = 2
"""For looking at constants."""
MOST_WORK = 3e11
"""Parameters × tokens of an update that a run may have: more would be one or two updates a minute on two slow cores."""

SMOL, SMOL_360, QWEN2, QWEN3 = (
    "HuggingFaceTB/SmolLM2-135M-Instruct", "HuggingFaceTB/SmolLM2-360M-Instruct", "Qwen/Qwen2.5-0.5B-Instruct", "Qwen/Qwen3-0.6B",
)  # fmt: skip
MINILM, BGE = "sentence-transformers/all-MiniLM-L6-v2", "BAAI/bge-small-en-v1.5"
SD = "stable-diffusion-v1-5/stable-diffusion-v1-5"
PARAMETERS = {SMOL: 0.135e9, SMOL_360: 0.362e9, QWEN2: 0.494e9, QWEN3: 0.596e9, MINILM: 0.0227e9, BGE: 0.033e9, SD: 0.98e9}
TEXT = (SMOL, SMOL, SMOL_360, QWEN2, QWEN3)
"""The one whose real weights a package brings is drawn twice as often."""
SMALL = (SMOL, SMOL, SMOL_360)
"""For what keeps all weights with their optimizer, or more than one copy of the model."""

TALKS = ("short-talks", "talks", "long-talks")
ROWS = {
    "short-talks": 503, "talks": 250, "long-talks": 100, "prose": 160, "pairs": 503, "preferences": 400, "feedback": 400,
    "checked": 200, "pictures": 120,
}  # fmt: skip
"""Kind of rows → how many there are (`estimates_made.py` writes them)."""
LENGTHS = {
    "short-talks": (256, 512, 1024), "talks": (512, 1024), "long-talks": (1024, 2048), "prose": (256, 512, 1024),
    "preferences": (256, 512), "feedback": (256, 512), "checked": (256,), "pairs": (64, 128, 256), "pictures": (None,),
}  # fmt: skip
RANKS = (4, 8, 16, 32, 64)
RANKED = frozenset({"lora", "dora", "mora", "relora", "adalora", "dpo", "orpo", "simpo", "kto", "reward_model", "rlvr", "grpo"})
BATCHES = {
    "pairs": (16, 32, 64), "checked": (1, 2), "pictures": (1, 2, 4),
    "preferences": (1, 2, 4), "feedback": (2, 4),
}  # fmt: skip
PACKED_BATCHES = (1, 2, 4, 8)
RESOLUTIONS = (64, 96, 128)

Line = tuple[str, str, int, tuple[str, ...], tuple[str, ...]]
METHODS: tuple[Line, ...] = (
    ("chat", "lora", 6, TEXT, TALKS),
    ("chat", "dora", 3, TEXT, TALKS),
    ("chat", "full_finetune", 4, SMALL, TALKS),
    ("chat", "galore", 2, SMALL, TALKS),
    ("chat", "vera", 2, TEXT, TALKS),
    ("chat", "adalora", 2, TEXT, TALKS),
    ("chat", "mora", 2, TEXT, TALKS),
    ("text_generation", "lora", 2, TEXT, ("prose",)),
    ("text_generation", "relora", 2, TEXT, ("prose",)),
    ("text_generation", "full_finetune", 1, SMALL, ("prose",)),
    ("chat", "dpo", 3, SMALL, ("preferences",)),
    ("chat", "orpo", 2, SMALL, ("preferences",)),
    ("chat", "simpo", 2, SMALL, ("preferences",)),
    ("chat", "reward_model", 2, SMALL, ("preferences",)),
    ("chat", "kto", 2, SMALL, ("feedback",)),
    ("chat", "rlvr", 2, (SMOL,), ("checked",)),
    ("embeddings", "contrastive", 2, (MINILM, BGE), ("pairs",)),
    ("embeddings", "lora", 1, (MINILM, BGE), ("pairs",)),
    ("image_generation", "lora", 1, (SD,), ("pictures",)),
    ("image_generation", "dora", 1, (SD,), ("pictures",)),
)
"""(capability, method, runs, models, kinds of rows)."""


@dataclass(frozen=True)
class Setting:
    """One run of the grid. None: what the plan recommends."""

    capability: str
    method: str
    model: str
    rows: str
    seq_len: int | None
    rank: int | None
    batch_size: int
    resolution: int | None = None

    @property
    def name(self) -> str:
        """In a line of progress."""
        sizes = [f"{name} {value}" for name, value in self.by_hand().items()]
        return f"{self.capability} {self.method} {self.model.split('/')[-1]} on {self.rows}, {', '.join(sizes)}"

    def by_hand(self) -> dict[str, int]:
        """What is set on the plan's tile of settings."""
        found = {"seq_len": self.seq_len, "rank": self.rank, "batch_size": self.batch_size, "resolution": self.resolution}
        return {name: value for name, value in found.items() if value is not None}

    def document(self) -> dict[str, Any]:
        """As it stands in a line of the results."""
        return asdict(self)


def grid(seed: int) -> list[Setting]:
    """The runs of a seed, in the order in which they are made."""
    dice, found = random.Random(seed), list[Setting]()
    for line in METHODS:
        for _ in range(line[2]):
            found.append(_drawn(dice, line, found))
    dice.shuffle(found)
    return found


def _drawn(dice: random.Random, line: Line, earlier: list[Setting]) -> Setting:
    """One run of a line; drawn again where an update would be too much work, or the same was drawn before."""
    capability, method, _runs, models, kinds = line
    while True:
        rows, model = dice.choice(kinds), dice.choice(models)
        length = dice.choice(LENGTHS[rows])
        batch = dice.choice(BATCHES.get(rows, PACKED_BATCHES))
        rank = dice.choice(RANKS) if method in RANKED else None
        resolution = dice.choice(RESOLUTIONS) if rows == "pictures" else None
        made = Setting(capability, method, model, rows, length, rank, batch, resolution)
        if made not in earlier and (rows in BATCHES or PARAMETERS[model] * (length or 0) * batch <= MOST_WORK):
            return made
