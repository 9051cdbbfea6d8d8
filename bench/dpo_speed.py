"""Speed of DPO against TRL at its fastest settings, on the same pairs and machine: `python bench/dpo_speed.py`.

SmolLM2-135M-Instruct, LoRA rank 16 on all linear layers, fp32 on a CPU. The better answer is the question's own, the worse one that
of another question: easy pairs, which is fair to both, since only the time is compared. TRL runs with the reference's
log-probabilities computed beforehand, without gradient checkpointing and without autocast. Timed are updates alone, on either side
without the reference. Real tokens are those of both conversations of a pair, as the pair has them.
"""

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from measure import KINDS, Mark, divided, job_of, lines_of, peak_gb, rate, take_turns, trained

PAIRS = 8
RANK, ALPHA, RATE, LONGEST = 16, 32, 5e-5, 512


def job(folder: Path, steps: int, seed: int = 0) -> Any:
    """The run as KripTik's planner would hand it to a worker."""
    from kriptik.spec.job import LoraSettings

    lora = LoraSettings(rank=RANK, alpha=ALPHA, targets="all-linear")
    sizes = {"max_steps": steps, "micro_batch": PAIRS, "max_seq_len": LONGEST, "packing": False}
    return job_of(folder, "dpo", "dpo", learning_rate=RATE, lora=lora, **sizes).model_copy(update={"seed": seed})


def prepared(folder: Path, kind: str) -> None:
    """Pairs in the canonical form."""
    rows = KINDS[kind]()
    said = [row["a"] for row in rows]
    divided(
        folder,
        [
            {
                "prompt": [{"role": "user", "content": row["q"]}],
                "chosen": [{"role": "assistant", "content": row["a"]}],
                "rejected": [{"role": "assistant", "content": said[number - 7]}],
            }
            for number, row in enumerate(rows)
        ],
    )


def ours(folder: Path, asked: argparse.Namespace) -> dict[str, Any]:
    """The product's own loop; only as many pairs as are used, so that no more references are scored."""
    cut(folder, asked.steps)
    figures, losses = trained(job(folder, asked.steps, asked.seed))
    return {**figures, "peak_gb": peak_gb(), **losses}


def trl(folder: Path, asked: argparse.Namespace) -> dict[str, Any]:
    """TRL's trainer on the same pairs."""
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import DPOConfig, DPOTrainer

    from kriptik.engine.base import find_base

    cut(folder, asked.steps)
    base = find_base(job(folder, 1)).folder
    marks: list[Mark] = []
    seen, losses = [0], []

    class Counted(DPOTrainer):
        def training_step(self, model, inputs, *rest):
            seen[0] += sum(int(value.sum()) for name, value in inputs.items() if name.endswith("attention_mask"))
            found = super().training_step(model, inputs, *rest)
            losses.append(float(found))
            return found

    class Clock(TrainerCallback):
        def on_step_end(self, args, state, control, **rest):
            marks.append((time.perf_counter(), time.process_time(), seen[0] - sum(tokens for *_, tokens in marks)))

    config = DPOConfig(
        output_dir=str(folder / "trl"), max_steps=asked.steps, per_device_train_batch_size=PAIRS, gradient_accumulation_steps=1,
        learning_rate=RATE, lr_scheduler_type="cosine", warmup_steps=1, max_length=LONGEST, precompute_ref_log_probs=True,
        bf16=False, fp16=False, gradient_checkpointing=False, report_to=[], save_strategy="no", logging_strategy="no", use_cpu=True,
        disable_tqdm=True, weight_decay=0.0, seed=asked.seed,
    )  # fmt: skip
    trainer = Counted(
        model=AutoModelForCausalLM.from_pretrained(base, dtype="float32"),
        processing_class=AutoTokenizer.from_pretrained(base), args=config, callbacks=[Clock()],
        train_dataset=Dataset.from_list(lines_of(folder / "train.jsonl")),
        peft_config=LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules="all-linear", task_type="CAUSAL_LM"),
    )  # fmt: skip
    trainer.train()
    return {**rate(marks), "peak_gb": peak_gb(), "first": losses[0], "last": losses[-1]}


def cut(folder: Path, steps: int) -> None:
    """Keeps the pairs that the updates use."""
    file = folder / "train.jsonl"
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    file.write_text("".join(lines[: steps * PAIRS]), encoding="utf-8")


SIDES = {"kriptik": ours, "trl": trl}

if __name__ == "__main__":
    sys.exit(take_turns(__file__, "Speed of DPO against TRL.", SIDES, prepared, steps=10))
