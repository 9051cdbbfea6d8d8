"""A toy modality and objective: a small network with dropout and batch statistics learns a fixed function of the row's numbers."""

import json
from pathlib import Path

import torch
from torch import nn

from kriptik.engine import pieces
from kriptik.engine.interfaces import Bundle, Encoded, Exported, MicroBatch, Modality, Objective
from kriptik.engine.rng import permutation, row_generator
from kriptik.spec.catalogue import Point
from kriptik.spec.events import Desired
from kriptik.spec.job import DataRef, ModelRef, SamplePrompt, Stage, StageSettings, TrainJob


class ToyNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 16), nn.Linear(16, 1)
        self.dropout = nn.Dropout(0.2)
        self.register_buffer("seen", torch.zeros(1))

    def forward(self, numbers):
        if self.training:
            self.seen += 1
        return self.second(self.dropout(torch.tanh(self.first(numbers)))).squeeze(-1)


class PlainNet(ToyNet):
    """Without dropout and without a buffer that counts forwards: for the gradient law."""

    def forward(self, numbers):
        return self.second(torch.tanh(self.first(numbers))).squeeze(-1)


class Toy(Modality):
    net = ToyNet

    def load(self):
        torch.manual_seed(7)
        return Bundle(self.net())

    def encode(self, bundle, row, index, form, settings):
        return Encoded(index, 1, float(row.get("weight", 1.0)), {"x": row["x"], "y": row["y"]})

    def collate(self, bundle, bins, seed, epoch):
        rows = [row for one in bins for row in one]
        noise = torch.stack([0.01 * torch.randn(4, generator=row_generator(seed, epoch, row.row)) for row in rows])
        numbers = torch.tensor([row.fields["x"] for row in rows]) + noise
        extra = {
            "y": torch.tensor([row.fields["y"] for row in rows]),
            "w": torch.tensor([row.weight for row in rows]),
        }
        return MicroBatch({"numbers": numbers}, extra, sum(row.weight for row in rows), [row.row for row in rows], len(rows))

    def sample(self, bundle, prompt, settings):
        return f"{float(bundle.trainee(torch.ones(1, 4))):.9f}"

    def export(self, bundle, adaptation, run_dir):
        folder = Path(run_dir) / "result"
        folder.mkdir(exist_ok=True)
        torch.save(bundle.trainee.state_dict(), folder / "toy.pt")
        return Exported(model_path="result/toy.pt", bytes=(folder / "toy.pt").stat().st_size)


class PlainToy(Toy):
    net = PlainNet

    def collate(self, bundle, bins, seed, epoch):
        micro = super().collate(bundle, bins, seed, epoch)
        rows = [row for one in bins for row in one]
        numbers = torch.tensor([row.fields["x"] for row in rows])
        return MicroBatch({"numbers": numbers}, micro.extra, micro.weight, micro.rows, len(rows))


class Squares(Objective):
    """Weighted squared error, as a sum."""

    def loss(self, output, micro):
        error = (output - micro.extra["y"]) ** 2 * micro.extra["w"]
        return error.sum(), {"absolute": error.detach().sqrt().sum()}


class Rolled(Squares):
    """Two updates out of one group of rows, the second from a view that is not contiguous: leaves unused updates."""

    updates_per_refill = 2

    def __init__(self, settings):
        super().__init__(settings)
        self.refills = 0

    def refill(self, plan, session):
        self.refills += 1
        (first,) = super().refill(plan, session)
        (second,) = super().refill(plan, session)
        for micro in second.micros:
            wide = micro.inputs["numbers"] + torch.randn(4)
            micro.inputs["numbers"] = wide.t().contiguous().t()
        second.state, second.fresh = {"kept": (torch.ones(2), 1.5)}, False
        return [first, second]

    def state(self):
        return {"refills": self.refills, "ema": torch.full((2,), float(self.refills))}

    def load_state(self, state):
        self.refills = state["refills"]


def install(monkeypatch):
    """The toy objectives in the tables, for one test."""
    tables = {"squares": f"{__name__}:Squares", "rolled": f"{__name__}:Rolled"}
    monkeypatch.setattr(pieces, "OBJECTIVES", {**pieces.OBJECTIVES, **tables})


def rows(count, seed=3):
    found = []
    for number in permutation(count, seed):
        x = [((number * k) % 7) / 7 - 0.5 for k in (1, 2, 3, 5)]
        found.append({"x": x, "y": 2 * x[0] - x[1] * x[2] + 0.3, "weight": 1.0 + number % 3})
    return found


def write_rows(path, found):
    path.write_text("".join(json.dumps(row) + "\n" for row in found))
    return str(path)


def job_in(folder, *, objective="squares", adaptation="full", stages=1, strategy="single", count=22, samples=True, **settings):
    """A job in a folder of its own: 22 rows, 6 held out."""
    folder.mkdir(parents=True, exist_ok=True)
    chosen = {"epochs": 2, "micro_batch": 2, "accumulation": 2, "learning_rate": 0.02, "eval_every": 4, "weight_decay": 0.01}
    settings = StageSettings(**{**chosen, **settings})
    point = Point(adaptation=adaptation, objective=objective, strategy=strategy)
    return TrainJob(
        job_id="toy",
        generation=1,
        run_dir=str(folder),
        cache_dir=str(folder),
        capability="text_generation",
        base_model=ModelRef(id="toy"),
        seed=11,
        threads=1,
        stages=[Stage(index=i, name=f"stage {i}", method="full_finetune", point=point, settings=settings) for i in range(stages)],
        data=DataRef(
            train_path=write_rows(folder / "train.jsonl", rows(count)),
            eval_path=write_rows(folder / "eval.jsonl", rows(6, 5)),
            train_rows=count,
            eval_rows=6,
            sha256="0" * 64,
        ),
        samples=[SamplePrompt(messages=[{"role": "user", "content": "ones"}])] if samples else [],
    )


def running():
    return Desired(version=1)


class Wish:
    """Wants `state` from the n-th question on."""

    def __init__(self, asked, state="frozen"):
        self.left, self.state = asked, state

    def __call__(self):
        self.left -= 1
        return Desired(version=1, state=self.state if self.left < 0 else "running")
