"""Retrieval before and after: all-MiniLM-L6-v2 on 503 real questions and answers, full and LoRA, by the product's own loop.

`python bench/embeddings.py --out build/embeddings`. A fifth of the pairs is held out; each held-out question looks for its answer
among all held-out answers. Intervals: 95 %, bootstrap over questions of the difference, the same questions before and after.
Swedish questions and answers are the default: the model was made for English, so there is something to learn.
"""

import argparse
import json
import random
import statistics
import time
from pathlib import Path
from typing import Any

import torch

BASE = "sentence-transformers/all-MiniLM-L6-v2"


def rows(language: str) -> list[dict[str, str]]:
    """Question and answer as pairs."""
    from kriptik.data.builtin import SAMPLES

    name = "zaragoza-construction-faq" + ("-sv" if language == "sv" else "")
    sample = SAMPLES[name]
    from importlib import resources

    lines = resources.files(sample.package).joinpath(sample.file).read_text(encoding="utf-8").splitlines()
    found = [json.loads(line) for line in lines if line.strip()]
    return [{"query": str(one[sample.prompt]), "positive": str(one[sample.completion])} for one in found]


def job_in(folder: Path, asked: argparse.Namespace, adaptation: str) -> Any:
    """The run as the planner would hand it to a worker."""
    from kriptik.spec.catalogue import Point
    from kriptik.spec.job import DataRef, LoraSettings, ModelRef, Stage, StageSettings, TrainJob

    folder.mkdir(parents=True, exist_ok=True)
    order = rows(asked.language)
    random.Random(0).shuffle(order)
    cut = len(order) // 5
    for name, part in (("eval", order[:cut]), ("train", order[cut:])):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part), encoding="utf-8")
    settings = StageSettings(
        epochs=asked.epochs, micro_batch=32, accumulation=2, learning_rate=2e-5 if adaptation == "full" else 5e-4, packing=False,
        max_seq_len=128, objective={"temperature": 0.05, "dims": [64, 128, 384]}, lora=LoraSettings(rank=16, alpha=32),
    )
    point = Point(adaptation=adaptation, objective="contrastive", strategy="single")
    data = DataRef(
        train_path=str(folder / "train.jsonl"), eval_path=str(folder / "eval.jsonl"), train_rows=len(order) - cut, eval_rows=cut,
        sha256="0" * 64,
    )
    return TrainJob(
        job_id="bench", generation=1, run_dir=str(folder / "run"), cache_dir=str(folder.parent / "cache"), modality="embedding",
        capability="embeddings", base_model=ModelRef(id=BASE), seed=7, threads=asked.threads, data=data, probe=False,
        stages=[Stage(index=0, name="pairs", method="contrastive", point=point, settings=settings)],
    )


def places(model: Any, folder: Path) -> list[int]:
    """Of each held-out question, the place of its answer, 1 is first. By the library alone."""
    held = [json.loads(line) for line in (folder / "eval.jsonl").read_text(encoding="utf-8").splitlines()]
    asked, told = (torch.tensor(model.encode([row[name] for row in held])) for name in ("query", "positive"))
    scores = torch.nn.functional.normalize(asked) @ torch.nn.functional.normalize(told).t()
    return (scores >= scores.diagonal()[:, None]).sum(1).tolist()


def interval(before: list[int], after: list[int], draws: int = 2000) -> tuple[float, float]:
    """95 % of the difference in recall at 1."""
    dice, gains = random.Random(0), [(b == 1) - (a == 1) for a, b in zip(before, after, strict=True)]
    found = sorted(statistics.fmean(dice.choices(gains, k=len(gains))) for _ in range(draws))
    return found[int(draws * 0.025)], found[int(draws * 0.975)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/embeddings"))
    parser.add_argument("--language", choices=("sv", "en"), default="sv")
    parser.add_argument("--epochs", type=float, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", choices=("lora", "full"), help="one of the two ways")
    asked = parser.parse_args()
    from sentence_transformers import SentenceTransformer

    from kriptik.engine.base import find_base
    from kriptik.engine.train import train
    from kriptik.spec.events import Desired

    figures: dict[str, Any] = {"base": BASE, "language": asked.language, "epochs": asked.epochs}
    for adaptation in [asked.only] if asked.only else ["lora", "full"]:
        folder = asked.out / adaptation
        job, said = job_in(folder, asked, adaptation), []
        began = time.perf_counter()
        train(job, said.append, lambda: Desired(version=1))
        result = next(body for body in reversed(said) if body.type == "result")
        before = places(SentenceTransformer(str(find_base(job).folder), device="cpu"), folder)
        after = places(SentenceTransformer(str(folder / "run" / "result" / "model"), device="cpu"), folder)
        low, high = interval(before, after)
        figures[adaptation] = {
            "seconds": round(time.perf_counter() - began, 1),
            "recall_at_1": [round(statistics.fmean(one == 1 for one in several), 3) for several in (before, after)],
            "gain_95": [round(low, 3), round(high, 3)],
            "before": result.eval_before.custom,
            "after": result.eval_after.custom,
        }
        print(json.dumps({adaptation: figures[adaptation]}, indent=1), flush=True)
    asked.out.mkdir(parents=True, exist_ok=True)
    (asked.out / "embeddings.json").write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
