"""That it learns, on a real model: `python bench/learns.py [sft dpo reward rlvr longlora qlora]`, all if none is named.

SmolLM2-135M-Instruct and rows that packages bring; LongLoRA a small model trained here from scratch. Every figure is taken on rows
held out, before and after, by transformers and PEFT alone from what the run left. Intervals are 95 %: bootstrap over rows (10,000
draws) for a difference, Wilson's for a share. Times are not what is measured here.
"""

import argparse
import json
import os
import random
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from learns_long import stretch
from learns_memory import memory
from measure import BASE, divided, faq, job_of, lines_of, trained

os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # as the worker sets it, before torch is loaded
Found = dict[str, Any]
LORA = {"rank": 16, "alpha": 32, "targets": "all-linear"}
LONGEST = 512
ROWS = 200
DRAWS = 10_000


def sft(folder: Path) -> Found:
    """One epoch over a building firm's questions and answers; loss per answer token of each held-out row."""
    divided(folder, [{"messages": [asked(row["q"]), said(row["a"])]} for row in faq()])
    before = row_losses(model_of(folder), folder)
    run(folder, "lora", "causal_lm", epochs=1, micro_batch=4, learning_rate=1e-3, max_seq_len=LONGEST)
    after = row_losses(model_of(folder, adapted=True), folder)
    low, high = interval([b - a for b, a in zip(before, after, strict=True)])
    return {"before": mean(before), "after": mean(after), "fell_by": [low, high], "rows": len(after), "holds": low > 0}


def dpo(folder: Path) -> Found:
    """One epoch of pairs (a question's own answer, another's); how often the better answer of a held-out pair gained more."""
    divided(folder, pairs())
    reference = pair_scores(model_of(folder), folder)
    run(folder, "dpo", "dpo", epochs=1, micro_batch=8, learning_rate=1e-4, max_seq_len=LONGEST, packing=False)
    policy = pair_scores(model_of(folder, adapted=True), folder)
    gains = [(p[0] - r[0]) - (p[1] - r[1]) for p, r in zip(policy, reference, strict=True)]
    right = sum(gain > 0 for gain in gains)
    found = wilson(right, len(gains))
    return {"accuracy": right / len(gains), "interval": found, "pairs": len(gains), "margin": mean(gains), "holds": found[0] > 0.5}


def reward(folder: Path) -> Found:
    """A Bradley–Terry reward model on the same pairs; how often it scores the better answer of a held-out pair higher.

    Rate and epochs were chosen on the last 98 training rows, which no run trains on: 88 of them were right.
    """
    import torch
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from kriptik.engine.text.chat import render

    divided(folder, pairs())
    run(folder, "reward_model", "reward", epochs=2, micro_batch=8, learning_rate=1e-3, max_seq_len=LONGEST, packing=False)
    base = base_of(folder)
    tokenizer = AutoTokenizer.from_pretrained(base)
    options = {"num_labels": 1, "dtype": "float32", "pad_token_id": tokenizer.pad_token_id}
    plain = AutoModelForSequenceClassification.from_pretrained(base, **options)
    model = PeftModel.from_pretrained(plain, folder / "run" / "result" / "adapter").eval()

    def score(turns: list[dict[str, str]]) -> float:
        text = render(tokenizer, turns, 0, ask=False).rstrip()
        ids = tokenizer(text, return_tensors="pt", add_special_tokens=False).input_ids[:, :LONGEST]
        with torch.no_grad():
            return float(model(input_ids=ids).logits[0, 0])

    held = lines_of(folder / "eval.jsonl")
    right = sum(score(row["prompt"] + row["chosen"]) > score(row["prompt"] + row["rejected"]) for row in held)
    found = wilson(right, len(held))
    return {"accuracy": right / len(held), "interval": found, "pairs": len(held), "holds": found[0] > 0.5}


def rlvr(folder: Path) -> Found:
    """GRPO on sums of two one-digit numbers from reasoning-gym; share of unseen sums whose greedy answer ends in the right one."""
    seen: set[str] = set()
    tasks = [one for one in sums(2_000) if not (one["question"] in seen or seen.add(one["question"]))]
    held, train = tasks[:RL_HELD_OUT], tasks[RL_HELD_OUT:]
    rows = [{"prompt": [asked(one["question"])], "answer": one["answer"]} for one in train]
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    before = solved(model_of(folder), folder, held)
    objective = {"reward": "verifier", "verifier": "number", "group_size": 8, "max_new_tokens": RL_TOKENS, "beta": 0.0}
    run(
        folder, "rlvr", "grpo", epochs=2, micro_batch=8, learning_rate=2e-4, max_seq_len=LONGEST, packing=False,
        schedule="constant", objective=objective,
    )  # fmt: skip
    after = solved(model_of(folder, adapted=True), folder, held)
    low, high = interval([a - b for b, a in zip(before, after, strict=True)])
    found = {"before": mean(before), "after": mean(after), "rose_by": [low, high], "problems": len(held), "trained_on": len(train)}
    return {**found, "holds": low > 0}


RL_HELD_OUT, RL_TOKENS = 80, 20


def sums(count: int) -> list[dict[str, Any]]:
    """Entries of reasoning-gym's chain_sum: two terms of one digit, added or subtracted."""
    import reasoning_gym

    made = reasoning_gym.create_dataset("chain_sum", size=count, seed=7, min_terms=2, max_terms=2, min_digits=1, max_digits=1)
    return [dict(one) for one in made]


def solved(model: Any, folder: Path, tasks: Sequence[dict[str, Any]]) -> list[float]:
    """1 or 0 per task: whether the last number of the greedy answer is right."""
    import torch
    from transformers import AutoTokenizer

    from kriptik.engine.text.verifiers import verifier

    tokenizer = AutoTokenizer.from_pretrained(base_of(folder), padding_side="left")
    check, found = verifier({"verifier": "number"}), []
    for start in range(0, len(tasks), 50):
        some = tasks[start : start + 50]
        talks = [[asked(one["question"])] for one in some]
        texts = [tokenizer.apply_chat_template(talk, tokenize=False, add_generation_prompt=True) for talk in talks]
        inputs = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False)
        with torch.no_grad():
            made = model.generate(**inputs, max_new_tokens=RL_TOKENS, do_sample=False, pad_token_id=tokenizer.pad_token_id)
        answers = tokenizer.batch_decode(made[:, inputs.input_ids.shape[1] :], skip_special_tokens=True)
        found += [float(check(answer, {"answer": one["answer"]}) >= 1) for answer, one in zip(answers, some, strict=True)]
    return found


def pairs() -> list[dict[str, Any]]:
    """Each question with its own answer and that of another question."""
    rows = faq()
    others = rows[-7:] + rows[:-7]
    return [
        {"prompt": [asked(row["q"])], "chosen": [said(row["a"])], "rejected": [said(other["a"])]}
        for row, other in zip(rows, others, strict=True)
    ]


def asked(text: str) -> dict[str, str]:
    """A turn of the user."""
    return {"role": "user", "content": text}


def said(text: str) -> dict[str, str]:
    """A turn of the assistant."""
    return {"role": "assistant", "content": text}


def run(folder: Path, method: str, aim: str, **settings: Any) -> None:
    """One run of the product's own loop, with LoRA, on at most `ROWS` rows."""
    from kriptik.spec.job import LoraSettings

    file = folder / "train.jsonl"
    file.write_text("".join(file.read_text(encoding="utf-8").splitlines(keepends=True)[:ROWS]), encoding="utf-8")
    trained(job_of(folder, method, aim, lora=LoraSettings(**LORA), **settings))


def base_of(folder: Path) -> Path:
    """The base model on this machine."""
    from kriptik.engine.base import find_base

    return find_base(job_of(folder, "lora", "causal_lm", max_steps=1)).folder


def model_of(folder: Path, adapted: bool = False) -> Any:
    """The base, or what the run made of it, by transformers and PEFT."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base_of(folder), dtype="float32")
    return (PeftModel.from_pretrained(model, folder / "run" / "result" / "adapter") if adapted else model).eval()


def row_losses(model: Any, folder: Path) -> list[float]:
    """Mean loss per answer token of each held-out row."""
    return [-total / count for total, count in (log_p(model, folder, row) for row in lines_of(folder / "eval.jsonl"))]


def pair_scores(model: Any, folder: Path) -> list[tuple[float, float]]:
    """log p of the better and of the worse answer per held-out pair."""
    found = []
    for row in lines_of(folder / "eval.jsonl"):
        better, worse = (log_p(model, folder, {"messages": row["prompt"] + row[name]})[0] for name in ("chosen", "rejected"))
        found.append((better, worse))
    return found


def log_p(model: Any, folder: Path, row: dict[str, Any]) -> tuple[float, int]:
    """(log p summed over the answer's tokens, how many they are)."""
    import torch
    from transformers import AutoTokenizer

    from kriptik.engine.text.chat import encode_row

    tokenizer = TOKENIZERS.setdefault(str(folder), AutoTokenizer.from_pretrained(base_of(folder)))
    tokens = encode_row(tokenizer, row, 0, LONGEST)
    ids, learnt = torch.tensor([tokens.ids]), torch.tensor(tokens.learnt)[1:]
    with torch.no_grad():
        logits = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0, :-1][learnt]
    return -float(torch.nn.functional.cross_entropy(logits.float(), ids[0, 1:][learnt], reduction="sum")), int(learnt.sum())


TOKENIZERS: dict[str, Any] = {}


def mean(values: Sequence[float]) -> float:
    """Arithmetic mean."""
    return sum(values) / len(values)


def interval(values: Sequence[float]) -> tuple[float, float]:
    """95 % of the mean, bootstrap over the values."""
    import numpy

    draws = numpy.random.default_rng(0).choice(numpy.asarray(values), (DRAWS, len(values))).mean(1)
    low, high = numpy.quantile(draws, (0.025, 0.975))
    return float(low), float(high)


def wilson(right: int, count: int) -> tuple[float, float]:
    """95 % of a share (Wilson 1927)."""
    z, share = 1.96, right / count
    middle, half = share + z * z / (2 * count), z * (share * (1 - share) / count + z * z / (4 * count * count)) ** 0.5
    return (middle - half) / (1 + z * z / count), (middle + half) / (1 + z * z / count)


PARTS: dict[str, Callable[[Path], Found]] = {
    "sft": sft, "dpo": dpo, "reward": reward, "rlvr": rlvr, "longlora": stretch, "qlora": memory,
}  # fmt: skip


def main() -> int:
    """0 where everything that was asked holds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("parts", nargs="*", help="which of " + ", ".join(PARTS))
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    wanted = parser.parse_args()
    random.seed(0)
    found: dict[str, Found] = {}
    for name in wanted.parts or list(PARTS):
        with tempfile.TemporaryDirectory(prefix="kriptik-learns-") as folder:
            found[name] = PARTS[name](Path(folder))
        print(name, json.dumps(found[name]), flush=True)
    if wanted.json:
        wanted.json.write_text(json.dumps({"base": BASE, **found}, indent=1))
    return 0 if all(one["holds"] for one in found.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
