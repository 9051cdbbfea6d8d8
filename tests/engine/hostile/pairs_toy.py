"""A toy of pairs: sentences as bags of numbers, an encoder with dropout, the positive a fixed relabelling of the anchor."""

import json
from pathlib import Path

import torch
from torch import nn

from kriptik.engine.interfaces import Bundle, Encoded, Exported, MicroBatch, Modality
from kriptik.spec.catalogue import Point
from kriptik.spec.job import DataRef, ModelRef, Stage, StageSettings, TrainJob

WORDS, LENGTH = 40, 3


class Encoder(nn.Module):
    share = 0.1

    def __init__(self):
        super().__init__()
        self.table, self.mix = nn.Embedding(2 * WORDS, 16), nn.Linear(16, 16)
        self.dropout = nn.Dropout(self.share)

    def forward(self, anchors, positives):
        return tuple(self.mix(self.dropout(torch.tanh(self.table(one).mean(1)))) for one in (anchors, positives))


class Dry(Encoder):
    share = 0.0


class PairsToy(Modality):
    provides = frozenset({"pairs"})
    net = Encoder

    def load(self):
        torch.manual_seed(3)
        return Bundle(self.net())

    def encode(self, bundle, row, index, form, settings):
        assert form == "pair"
        return Encoded(index, 1, 1.0, {"anchor": row["anchor"], "positive": row["positive"]})

    def collate(self, bundle, bins, seed, epoch):
        rows = [row for one in bins for row in one]
        inputs = {f"{name}s": torch.tensor([row.fields[name] for row in rows]) for name in ("anchor", "positive")}
        return MicroBatch(inputs, {}, float(len(rows)), [row.row for row in rows], 2 * LENGTH * len(rows))

    def export(self, bundle, adaptation, run_dir):
        return Exported()


class DryPairs(PairsToy):
    net = Dry


def pair_rows(count, seed):
    draw = torch.Generator().manual_seed(seed)
    words = torch.randint(0, WORDS, (count, LENGTH), generator=draw).tolist()
    return [{"anchor": one, "positive": [WORDS + (7 * word + 1) % WORDS for word in one]} for one in words]


def job_in(folder, *, strategy="single", count=50, **settings):
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in (("train", pair_rows(count, 1)), ("eval", pair_rows(20, 2))):
        Path(folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    chosen = {"epochs": 3, "micro_batch": 4, "accumulation": 4, "learning_rate": 0.03, "objective": {"temperature": 0.1}}
    point = Point(adaptation="full", objective="contrastive", strategy=strategy)
    stage = Stage(index=0, name="pairs", method="contrastive", point=point, settings=StageSettings(**{**chosen, **settings}))
    paths = {f"{name}_path": str(folder / f"{name}.jsonl") for name in ("train", "eval")}
    data = DataRef(**paths, train_rows=count, eval_rows=20, sha256="0" * 64)
    return TrainJob(
        job_id="pairs", generation=1, run_dir=str(folder), cache_dir=str(folder), modality="embedding", capability="embeddings",
        base_model=ModelRef(id="toy"), seed=5, threads=1, stages=[stage], data=data,
    )
