"""A toy of diffusion: points for pictures, a text encoder with a table of words, a denoiser taught a few words first."""

import copy
import json
from functools import cache
from pathlib import Path

import torch
from torch import nn

from kriptik.engine import noise as ways
from kriptik.engine.interfaces import Bundle, Encoded, Exported, MicroBatch, Modality
from kriptik.spec.catalogue import Point
from kriptik.spec.job import DataRef, ModelRef, Stage, StageSettings, TrainJob

WORDS = {"a": (0, 0), "red": (2, 0), "blue": (-2, 1), "green": (0, -2), "gold": (1, 2)}
HIDDEN = (-1.5, -1.0)
"""Where the subject lies, which no word of the base names."""
LEVELS = torch.linspace(0.999, 0.02, 50)


class WordTokenizer:
    def __init__(self):
        self.ids = {word: number for number, word in enumerate(WORDS)}

    def __len__(self):
        return len(self.ids)

    def add_tokens(self, words):
        new = [word for word in words if word not in self.ids]
        for word in new:
            self.ids[word] = len(self.ids)
        return len(new)

    def encode(self, text, add_special_tokens=True):
        return [self.ids[word] for word in text.split()]


class TextEncoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.mix = nn.Embedding(len(WORDS), 6), nn.Linear(6, 8)

    def tables(self):
        return [(self.embedding, self.tokenizer)]

    def replace(self, tables):
        (self.embedding,) = tables

    def forward(self, ids):
        return {"text": self.mix(self.embedding(ids).mean(1))}


class Denoiser(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.dropout = nn.Linear(2 + 1 + 8, 64), nn.Linear(64, 2), nn.Dropout(0.05)

    def forward(self, text, sample, times):
        return self.second(self.dropout(torch.relu(self.first(torch.cat([sample, times[:, None], text], 1)))))


def mixed(kind, clean, noise, times):
    if kind == "flow":
        return ways.flow(clean, noise, times)
    return ways.epsilon(clean, noise, LEVELS[(times * len(LEVELS)).long().clamp(max=len(LEVELS) - 1)])


@cache
def taught(kind):
    """(denoiser, text encoder) after a short training on the base's words."""
    torch.manual_seed(1)
    denoiser, encoder = Denoiser(), TextEncoder()
    optimizer = torch.optim.Adam([*denoiser.parameters(), *encoder.parameters()], lr=5e-3)
    places = torch.tensor(list(WORDS.values()), dtype=torch.float32)
    for _ in range(400):
        ids = torch.randint(0, len(WORDS), (64, 1))
        clean = places[ids[:, 0]] + 0.1 * torch.randn(64, 2)
        times = torch.rand(64)
        sample, target = mixed(kind, clean, torch.randn(64, 2), times)
        optimizer.zero_grad()
        (denoiser(**encoder(ids), sample=sample, times=times) - target).square().mean().backward()
        optimizer.step()
    return denoiser, encoder


class FlowToy(Modality):
    provides = frozenset({"noise"})
    kind = "flow"

    def load(self):
        denoiser, encoder = copy.deepcopy(taught(self.kind))
        encoder.tokenizer = WordTokenizer()
        return Bundle(denoiser, encoder.tokenizer, {"text_encoder": encoder.requires_grad_(False)})

    def encode(self, bundle, row, index, form, settings):
        assert form == "image"
        caption = row["caption"]
        for word, text in bundle.words.items():
            caption = caption.replace(word, text)
        return Encoded(index, 1, 1.0, {"ids": bundle.tokenizer.encode(caption), "clean": row["picture"]})

    def collate(self, bundle, bins, seed, epoch):
        rows = [row for one in bins for row in one]
        ids = torch.tensor([row.fields["ids"] for row in rows])
        if encoder := bundle.parts.get("text_encoder"):
            with torch.no_grad():
                inputs = encoder(ids)
        else:
            inputs = {"token_ids": ids}
        clean = torch.tensor([row.fields["clean"] for row in rows])
        return MicroBatch(inputs, {"clean": clean}, float(len(rows)), [row.row for row in rows], len(rows))

    def add_noise(self, bundle, micro, noise, times):
        sample, target = mixed(self.kind, micro.extra["clean"], noise, times)
        inputs = {**micro.inputs, "sample": sample, "times": times}
        return MicroBatch(inputs, {**micro.extra, "target": target}, micro.weight, micro.rows, micro.tokens)

    def export(self, bundle, adaptation, run_dir):
        if "text_encoder" in bundle.parts:
            return Exported()
        adaptation.save(bundle, Path(run_dir) / "result")
        return Exported(adapter_path="result")


class EpsilonToy(FlowToy):
    kind = "epsilon"


def picture_rows(count, seed):
    draw = torch.Generator().manual_seed(seed)
    places = torch.tensor(HIDDEN) + 0.1 * torch.randn(count, 2, generator=draw)
    return [{"caption": "a <subject>", "picture": one} for one in places.tolist()]


def job_in(folder, *, adaptation="textual_inversion", strategy="single", rows=None, **settings):
    folder.mkdir(parents=True, exist_ok=True)
    kinds = {"train": rows or picture_rows(10, 1), "eval": (rows or picture_rows(6, 2))[:6]}
    for name, found in kinds.items():
        Path(folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found))
    chosen = {
        "max_steps": 40, "micro_batch": 2, "accumulation": 2, "learning_rate": 0.05, "schedule": "constant",
        "adaptation": {"vectors": 2, "initializer": "blue"} if adaptation == "textual_inversion" else {},
    }
    settings["objective"] = {"watched_pictures": 0, **settings.get("objective", {})}  # this toy draws none
    point = Point(adaptation=adaptation, objective="denoise", strategy=strategy)
    stage = Stage(index=0, name="toy", method=adaptation, point=point, settings=StageSettings(**{**chosen, **settings}))
    paths = {f"{name}_path": str(folder / f"{name}.jsonl") for name in kinds}
    data = DataRef(**paths, train_rows=len(kinds["train"]), eval_rows=len(kinds["eval"]), sha256="0" * 64)
    return TrainJob(
        job_id="pictures", generation=1, run_dir=str(folder), cache_dir=str(folder), modality="image",
        capability="image_generation",
        base_model=ModelRef(id="toy"), seed=9, threads=1, stages=[stage], data=data,
    )


def no_held_out(job):
    return job.model_copy(update={"data": job.data.model_copy(update={"eval_path": None, "eval_rows": 0})})
