"""Speed of supervised fine-tuning against TRL and LLaMA-Factory at their fastest, on the same rows and machine: `make bench`.

SmolLM2-135M-Instruct, LoRA rank 16 on all linear layers, real chat rows, packing, no gradient checkpointing, which is the fastest
each did here, in the precision that the planner chooses for this CPU: bf16 where it has units for it. Sides whose names
end in `-fp32` train in fp32 without autocast. Each run is a process of its own, in turn; figures are ratios of medians of real
(not padding) tokens per second. Held-out loss after the same updates shows that all learn; each round has a seed of its own.
TRL packs by its strategy 'wrapped': its default, 'bfd', lays a batch out as one long row, which without flash attention halved
its speed here. LLaMA-Factory packs by `neat_packing` and runs in an environment of its own, which `bench/peers.sh` makes; without
it, that side is left out. The sides `trl-defaults` and `llamafactory-defaults` (name them with `--sides`) leave to each tool
what it would choose by itself: precision, checkpointing, packing, rows per update; `kriptik-small` makes updates of as many real
tokens as theirs come to, so that after as many updates all have seen as much.

`--rows` chooses them: `faq` (short questions of one trade, the usual), `alpaca` (instructions of all sorts, answers of a word to a
page) or `both`. All begin with the system turn that the model's template writes, which KripTik computes once for the rows of a
micro-batch: `kriptik-apart` does without that, as where rows have nothing in common.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

from measure import BASE, KINDS, Mark, divided, job_of, lines_of, peak_gb, rate, take_turns, trained

from kriptik.providers.gpus import cpu_bf16

SEQUENCE, SEQUENCES = 512, 4
"""One update sees up to this many packed sequences of this many tokens."""
SMALL = (430, 2)
"""Likewise of `kriptik-small`: the real tokens in the eight short rows that a tool's update has by default."""
RANK, ALPHA, RATE = 16, 32, 1e-3
PEER = Path(__file__).resolve().parent.parent / "build" / "peers" / "llamafactory" / "bin" / "python"


def job(folder: Path, steps: int, half: bool = False, sizes: tuple[int, int] = (SEQUENCE, SEQUENCES), seed: int = 0) -> Any:
    """The run as KripTik's planner would hand it to a worker, in bf16 if `half`; `sizes`: tokens of a sequence, sequences."""
    from kriptik.spec.job import LoraSettings

    found = job_of(
        folder, "lora", "causal_lm", max_steps=steps, micro_batch=sizes[1], learning_rate=RATE, max_seq_len=sizes[0], packing=True,
        lora=LoraSettings(rank=RANK, alpha=ALPHA, targets="all-linear"),
    )
    return found.model_copy(update={"precision": "bf16" if half else "fp32", "seed": seed})


def prepared(folder: Path, kind: str) -> None:
    """The base model in the cache, and the rows."""
    from kriptik.engine.base import find_base

    pairs = KINDS[kind]()
    rows = [{"messages": [{"role": "user", "content": row["q"]}, {"role": "assistant", "content": row["a"]}]} for row in pairs]
    divided(folder, rows)
    base = find_base(job(folder, 1))
    print(f"base {BASE} ({base.source}), sha256 {base.sha256[:12]}, {len(rows)} rows ({kind})", flush=True)


def ours(
    folder: Path, asked: argparse.Namespace, half: bool, sizes: tuple[int, int] = (SEQUENCE, SEQUENCES), apart: bool = False
) -> dict[str, Any]:
    """The product's own loop, through the call a worker makes; `apart`: what rows begin with in common is computed for each."""
    from kriptik.engine.text import sharing

    if apart:
        sharing.LEAST = 10**6
    figures, _ = trained(job(folder, asked.steps, half, sizes, asked.seed))
    peak = peak_gb()
    found = loss(folder / "run" / "result" / "adapter", folder, asked.held_out)
    shutil.rmtree(folder / "run")
    return {**figures, "peak_gb": peak, "loss": found}


TRL_FASTEST = {
    "per_device_train_batch_size": SEQUENCES, "gradient_accumulation_steps": 1, "lr_scheduler_type": "cosine", "warmup_steps": 1,
    "max_length": SEQUENCE, "packing": True, "packing_strategy": "wrapped", "bf16": False, "fp16": False,
    "gradient_checkpointing": False, "completion_only_loss": True, "weight_decay": 0.0,
}  # fmt: skip


def trl(folder: Path, asked: argparse.Namespace, settings: dict[str, Any]) -> dict[str, Any]:
    """TRL's trainer on the same rows; at its fastest packed to the same length, the same sequences per update."""
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    base = base_folder(folder)
    rows = [row["messages"] for row in lines_of(folder / "train.jsonl")]
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
        output_dir=str(folder / "trl"), max_steps=asked.steps, learning_rate=RATE, report_to=[], save_strategy="no",
        logging_strategy="no", use_cpu=True, disable_tqdm=True, seed=asked.seed, **settings,
    )  # fmt: skip
    trainer = Counted(
        model=AutoModelForCausalLM.from_pretrained(base, dtype="float32"),
        processing_class=AutoTokenizer.from_pretrained(base), args=config, callbacks=[Clock()],
        train_dataset=Dataset.from_list([{"prompt": one[:-1], "completion": one[-1:]} for one in rows]),
        peft_config=LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules="all-linear", task_type="CAUSAL_LM"),
    )
    trainer.train()
    peak = peak_gb()
    trainer.save_model(str(folder / "trl"))
    return {**rate(marks), "peak_gb": peak, "loss": loss(folder / "trl", folder, asked.held_out)}


def llamafactory(folder: Path, asked: argparse.Namespace, settings: str) -> dict[str, Any]:
    """LLaMA-Factory's own entry, in its own environment; `settings`: fp32, bf16 (both at its fastest) or defaults."""
    script = Path(__file__).with_name("llamafactory_side.py")
    wanted = {"steps": asked.steps, "sequence": SEQUENCE, "sequences": SEQUENCES, "rank": RANK, "alpha": ALPHA, "rate": RATE,
              "seed": asked.seed}  # fmt: skip
    command = [str(PEER), str(script), str(base_folder(folder)), str(folder), json.dumps(wanted), settings]
    done = subprocess.run(command, env={**os.environ, "DISABLE_VERSION_CHECK": "1"}, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    told = json.loads(done.stdout.strip().splitlines()[-1])
    found = loss(folder / "lf", folder, asked.held_out)
    return {**rate([tuple(one) for one in told["marks"]]), "peak_gb": told["peak_gb"], "loss": found}


def base_folder(folder: Path) -> Path:
    """The base model on this machine."""
    from kriptik.engine.base import find_base

    return find_base(job(folder, 1)).folder


def loss(adapter: Path, folder: Path, held_out: int) -> float:
    """Mean loss per answer token on held-out rows, by transformers and PEFT alone: the same yardstick for all."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from kriptik.engine.text.chat import encode_row

    base = base_folder(folder)
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype="float32"), adapter).eval()
    total, count = 0.0, 0
    for number, row in enumerate(lines_of(folder / "eval.jsonl")[:held_out]):
        tokens = encode_row(tokenizer, row, number, SEQUENCE)
        ids, learnt = torch.tensor([tokens.ids]), torch.tensor(tokens.learnt)[1:]
        with torch.no_grad():
            logits = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0, :-1][learnt]
        total += float(torch.nn.functional.cross_entropy(logits.float(), ids[0, 1:][learnt], reduction="sum"))
        count += int(learnt.sum())
    return total / count if count else float("nan")


def sides() -> dict[str, Any]:
    """Name → what it runs."""
    half = cpu_bf16()
    found: dict[str, Any] = {
        "kriptik": partial(ours, half=half),
        "kriptik-fp32": partial(ours, half=False),
        "kriptik-small": partial(ours, half=half, sizes=SMALL),
        "kriptik-apart": partial(ours, half=half, apart=True),
        "trl": partial(trl, settings={**TRL_FASTEST, "bf16": half}),
        "trl-fp32": partial(trl, settings=TRL_FASTEST),
        "trl-defaults": partial(trl, settings={}),
    }
    if PEER.exists():
        for name, settings in (("", "bf16" if half else "fp32"), ("-fp32", "fp32"), ("-defaults", "defaults")):
            found[f"llamafactory{name}"] = partial(llamafactory, settings=settings)
    return found


SIDES = sides()
FASTEST = [side for side in SIDES if "-" not in side]

if __name__ == "__main__":
    sys.exit(take_turns(__file__, "Speed against TRL and LLaMA-Factory.", SIDES, prepared, steps=14, usual=FASTEST))
