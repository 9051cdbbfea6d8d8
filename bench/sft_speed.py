"""Speed of supervised fine-tuning against TRL at its fastest settings, on the same rows, tokens and machine: `make bench`.

SmolLM2-135M-Instruct, LoRA rank 16 on all linear layers, real short chat rows, fp32 on a CPU. Each run is a process of its own, in
the order A B A B; the figure is the ratio of medians of real (not padding) tokens per second. TRL runs with packing, without
gradient checkpointing and without autocast, which is the fastest it did here. Held-out loss after the same updates shows that both
learn. TRL packs by its strategy 'wrapped': its default, 'bfd', lays a batch out as one long row, which without flash attention
halved its speed here (105 tokens/s). It refuses to run on a busy machine, whose figures would mean nothing.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from importlib import resources
from pathlib import Path
from typing import Any

BASE = "HuggingFaceTB/SmolLM2-135M-Instruct"
ROWS = "zaragoza-construction-faq"
SEQUENCE, SEQUENCES = 512, 4
"""One update sees up to this many packed sequences of this many tokens."""
RANK, ALPHA, RATE = 16, 32, 1e-3
BUSY = 0.3
"""Load per core above which no figure is taken."""
LEFT_OUT = 2
"""First updates, while caches and allocator warm up."""
Mark = tuple[float, float, int]
"""End of an update: wall clock, processor time of this process, tokens."""


def main() -> int:
    """Runs both sides alternately and prints the medians; one side alone in a child process."""
    parser = argparse.ArgumentParser(description="Speed against TRL.")
    parser.add_argument("--steps", type=int, default=14, help="updates per run, the first two untimed")
    parser.add_argument("--rounds", type=int, default=2, help="runs per side")
    parser.add_argument("--held-out", type=int, default=40, help="rows of the held-out loss; 0 leaves it out")
    parser.add_argument("--force", action="store_true", help="run although the machine is busy; the figures are then worthless")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--side", choices=sorted(SIDES), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.side:
        print(json.dumps(SIDES[asked.side](asked.folder, asked.steps, asked.held_out)))
        return 0
    busy = os.getloadavg()[0] / (os.cpu_count() or 1)
    if busy > BUSY and not asked.force:
        print(f"The machine is busy (load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores); end other work, then run again.")
        return 2
    with tempfile.TemporaryDirectory(prefix="kriptik-bench-") as folder:
        prepared(Path(folder))
        runs = [(side, run(side, Path(folder), asked)) for _ in range(asked.rounds) for side in ("kriptik", "trl")]
    report(runs, asked, busy)
    return 0


def prepared(folder: Path) -> None:
    """The base model in the cache; every fifth question held out, a question asked twice kept once."""
    from kriptik.engine.base import find_base

    asked = {}
    for line in resources.files(ROWS.replace("-", "_")).joinpath("data/faq-en.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        asked.setdefault(" ".join(row["q"].lower().split()), row)
    rows = [
        {"messages": [{"role": "user", "content": row["q"]}, {"role": "assistant", "content": row["a"]}]} for row in asked.values()
    ]
    for name, part in (("train", [row for at, row in enumerate(rows) if at % 5]), ("eval", rows[::5])):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part), encoding="utf-8")
    base = find_base(job(folder, 1))
    print(f"base {BASE} ({base.source}), sha256 {base.sha256[:12]}, {len(rows)} rows of {ROWS}")


def run(side: str, folder: Path, asked: argparse.Namespace) -> dict[str, Any]:
    """One side in its own process, with the threads of all cores."""
    command = [sys.executable, __file__, "--side", side, "--folder", str(folder)]
    command += ["--steps", str(asked.steps), "--held-out", str(asked.held_out)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.stderr.write(done.stderr[-4000:])
        raise SystemExit(f"{side} failed")
    found = json.loads(done.stdout.strip().splitlines()[-1])
    print(f"{side:8} {found['rate']:7.1f} tokens/s ({found['cpu_rate']:.1f} per CPU second)   {found['tokens']} tokens"
          f"   held-out loss {found['loss']:.4f}   peak {found['peak_gb']:.1f} GB")
    return found


def report(runs: list[tuple[str, dict[str, Any]]], asked: argparse.Namespace, busy: float) -> None:
    """Medians and their ratio."""
    median = {side: statistics.median(one["rate"] for name, one in runs if name == side) for side in ("kriptik", "trl")}
    ratio = median["kriptik"] / median["trl"]
    print(f"median   {median['kriptik']:.1f} against {median['trl']:.1f} real tokens/s: {ratio:.2f} x TRL's fastest settings")
    if busy > BUSY:
        print(f"Not a measurement: the load was {busy:.1f} per core.")
    if asked.json:
        asked.json.write_text(json.dumps({"median": median, "ratio": ratio, "loadPerCore": busy, "runs": runs}, indent=1))


def job(folder: Path, steps: int) -> Any:
    """The run as KripTik's planner would hand it to a worker."""
    from kriptik.spec.catalogue import Point
    from kriptik.spec.job import DataRef, LoraSettings, ModelRef, Stage, StageSettings, TrainJob

    settings = StageSettings(
        max_steps=steps, micro_batch=SEQUENCES, learning_rate=RATE, max_seq_len=SEQUENCE, packing=True,
        lora=LoraSettings(rank=RANK, alpha=ALPHA, targets="all-linear"), checkpoint_every_s=1e6,
    )
    stage = Stage(
        index=0, name="train", method="lora", settings=settings,
        point=Point(adaptation="lora", objective="causal_lm", strategy="single"),
    )
    cache = os.environ.get("KRIPTIK_HOME") or str(Path.home() / ".kriptik")
    data = DataRef(train_path=str(folder / "train.jsonl"), train_rows=1, sha256="bench")
    return TrainJob(
        job_id="bench", generation=1, run_dir=str(folder / "run"), cache_dir=str(Path(cache) / "cache"), capability="chat",
        base_model=ModelRef(id=BASE), stages=[stage], data=data, probe=False,
    )


def ours(folder: Path, steps: int, held_out: int) -> dict[str, Any]:
    """The product's own loop, through the call a worker makes."""
    import shutil

    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    from kriptik.engine.base import find_base
    from kriptik.engine.train import train
    from kriptik.spec.events import Desired, Metrics

    marks: list[Mark] = []

    def emit(body: Any) -> None:
        if isinstance(body, Metrics):
            marks.append((time.perf_counter(), time.process_time(), body.tokens))

    wanted = Desired(version=1)
    asked = job(folder, steps)
    train(asked, emit, lambda: wanted)
    figures = rate(marks)
    peak = peak_gb()
    base = AutoModelForCausalLM.from_pretrained(find_base(asked).folder, dtype="float32")
    tuned = PeftModel.from_pretrained(base, folder / "run" / "result" / "adapter")
    shutil.rmtree(folder / "run")
    return {**figures, "peak_gb": peak, "loss": loss(tuned, folder, held_out, asked)}


def theirs(folder: Path, steps: int, held_out: int) -> dict[str, Any]:
    """TRL's trainer on the same rows, packed to the same length, the same sequences per update."""
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    from kriptik.engine.base import find_base

    base = find_base(job(folder, 1)).folder
    rows = [json.loads(line)["messages"] for line in (folder / "train.jsonl").read_text(encoding="utf-8").splitlines()]
    marks: list[Mark] = []
    seen = [0]

    class Counted(SFTTrainer):
        def training_step(self, model, inputs, *rest):
            mask = inputs.get("attention_mask")
            seen[0] += int(mask.sum()) if mask is not None else inputs["input_ids"].numel()
            return super().training_step(model, inputs, *rest)

    class Clock(TrainerCallback):
        def on_step_end(self, args, state, control, **rest):
            marks.append((time.perf_counter(), time.process_time(), seen[0] - sum(tokens for *_, tokens in marks)))

    config = SFTConfig(
        output_dir=str(folder / "trl"), max_steps=steps, per_device_train_batch_size=SEQUENCES, gradient_accumulation_steps=1,
        learning_rate=RATE, lr_scheduler_type="cosine", warmup_steps=1, max_length=SEQUENCE, packing=True,
        packing_strategy="wrapped", bf16=False, fp16=False, gradient_checkpointing=False,
        report_to=[], save_strategy="no", logging_strategy="no", use_cpu=True, disable_tqdm=True,
        completion_only_loss=True, weight_decay=0.0, seed=0,
    )
    trainer = Counted(
        model=AutoModelForCausalLM.from_pretrained(base, dtype="float32"),
        processing_class=AutoTokenizer.from_pretrained(base), args=config, callbacks=[Clock()],
        train_dataset=Dataset.from_list([{"prompt": one[:-1], "completion": one[-1:]} for one in rows]),
        peft_config=LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules="all-linear", task_type="CAUSAL_LM"),
    )
    trainer.train()
    peak = peak_gb()
    trained = trainer.accelerator.unwrap_model(trainer.model)
    return {**rate(marks), "peak_gb": peak, "loss": loss(trained, folder, held_out, job(folder, 1))}


def rate(marks: list[Mark]) -> dict[str, Any]:
    """Tokens per second, and per second of processor time, between the ends of updates; the first ones left out."""
    timed = marks[LEFT_OUT - 1 :] if len(marks) > LEFT_OUT else marks
    tokens = sum(count for *_, count in timed[1:])
    seconds, cpu = (timed[-1][clock] - timed[0][clock] for clock in (0, 1))
    return {"rate": tokens / seconds, "cpu_rate": tokens / cpu, "tokens": sum(count for *_, count in marks), "seconds": seconds}


def loss(model: Any, folder: Path, held_out: int, asked: Any) -> float:
    """Mean loss per answer token on held-out rows, by transformers alone: the same yardstick for both."""
    import torch
    from transformers import AutoTokenizer

    from kriptik.engine.base import find_base
    from kriptik.engine.text.chat import encode_row

    tokenizer = AutoTokenizer.from_pretrained(find_base(asked).folder)
    lines = (folder / "eval.jsonl").read_text(encoding="utf-8").splitlines()[:held_out]
    model.eval()
    total, count = 0.0, 0
    for number, line in enumerate(lines):
        row = encode_row(tokenizer, json.loads(line), number, SEQUENCE)
        ids, learnt = torch.tensor([row.ids]), torch.tensor(row.learnt)[1:]
        with torch.no_grad():
            logits = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0, :-1][learnt]
        total += float(torch.nn.functional.cross_entropy(logits.float(), ids[0, 1:][learnt], reduction="sum"))
        count += int(learnt.sum())
    return total / count if count else float("nan")


def peak_gb() -> float:
    """Most memory this process had resident, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


SIDES = {"kriptik": ours, "trl": theirs}

if __name__ == "__main__":
    sys.exit(main())
