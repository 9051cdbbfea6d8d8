"""From approval to the first optimizer step, beside a bare script that does the same: `python bench/start.py`.

Ours is the whole product: a server, a plan approved over HTTP, a worker process that is set up, dials in and trains. The bare
script imports torch, transformers and PEFT, loads the cached model, makes the rows into tokens and does one step. Left out of ours:
the smoke test, which is told beside it, and the held-out rows and answers of the base, which the script does not have at all.
Medians of several starts.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from measure import divided, faq
from sft_speed import ALPHA, RANK, RATE, base_folder

BARE = """
import json, sys
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer
base, rows, rank, alpha, rate, size = sys.argv[1], sys.argv[2], *map(float, sys.argv[3:])
tokenizer = AutoTokenizer.from_pretrained(base)
model = get_peft_model(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32),
    LoraConfig(r=int(rank), lora_alpha=alpha, target_modules="all-linear", task_type="CAUSAL_LM"))
ids = []
for line in open(rows):
    ids += tokenizer.apply_chat_template(json.loads(line)["messages"], return_dict=False)
optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate)
at = torch.tensor([ids[:int(size)]])
model(input_ids=at, labels=at).loss.backward()
optimizer.step()
"""


def bare(folder: Path, tokens: float) -> float:
    """Seconds from the start of the process to the end of its first step, which sees as many tokens as ours did."""
    sizes = map(str, (RANK, ALPHA, RATE, tokens))
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", BARE, str(base_folder(folder)), str(folder / "train.jsonl"), *sizes], check=True)
    return time.perf_counter() - began


def ours(folder: Path, number: int) -> dict[str, float]:
    """Seconds from the approval, by what they went to."""
    from kriptik.cli.client import Client
    from kriptik.cli.demo import PROMPT, SAMPLE, end_earlier, start_server

    home = folder / f"home{number}"
    home.mkdir()
    cache = Path(os.environ.get("KRIPTIK_HOME") or Path.home() / ".kriptik") / "cache"
    (home / "cache").symlink_to(cache)
    before = os.environ.get("KRIPTIK_HOME")
    url, _ = start_server(home, folder / "server.log")
    try:
        client = Client(url)
        plan = client.parse_intent(PROMPT, client.post(f"/data/samples/{SAMPLE}")["id"])["plan"]
        began = time.time()
        job = client.approve(plan["id"], 5.0)["jobId"]
        found = _until_first_step(client, job, began)
        client.post(f"/jobs/{job}/stop")
        client.wait_for(job, {"stopped", "failed", "completed"}, limit_s=120)
        return found
    finally:
        end_earlier(home)
        os.environ.pop("KRIPTIK_HOME") if before is None else os.environ.update(KRIPTIK_HOME=before)


def _until_first_step(client: Any, job: str, began: float) -> dict[str, float]:
    marks: dict[str, float] = {}
    for event in client.stream(job):
        body, at = event.get("body", event), _clock(event)
        if body.get("type") == "setup" and body.get("stage") == "verification":
            marks.setdefault("verification_from" if body["status"] == "running" else "verification_to", at)
        if body.get("type") == "stage" and body.get("status") == "started":
            marks["stage"] = at
        if body.get("type") in ("eval", "sample") and body.get("step") == 0:
            marks["base_measured"] = at
        if body.get("type") == "metrics":
            marks["step"], marks["tokens"] = at, float(body["tokens"])
            break
    verification = marks["verification_to"] - marks["verification_from"]
    measured = marks.get("base_measured", marks["stage"]) - marks["stage"]
    return {
        "start": marks["step"] - began - verification - measured, "to_verification": marks["verification_from"] - began,
        "verification": verification, "load": marks["stage"] - marks["verification_to"], "base_measured": measured,
        "first_step": marks["step"] - marks.get("base_measured", marks["stage"]), "tokens": marks["tokens"],
    }  # fmt: skip


def _clock(event: dict[str, Any]) -> float:
    return datetime.fromisoformat(str(event["at"]).replace("Z", "+00:00")).timestamp()


def main() -> int:
    """Prints each start and the ratio of the medians."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    sides: dict[str, list[float]] = {"bare": [], "ours": []}
    with tempfile.TemporaryDirectory(prefix="kriptik-start-") as name:
        folder = Path(name)
        talks = [[{"role": "user", "content": row["q"]}, {"role": "assistant", "content": row["a"]}] for row in faq()]
        divided(folder, [{"messages": talk} for talk in talks])
        base_folder(folder)
        for number in range(asked.rounds):
            parts = ours(folder, number)
            sides["ours"].append(parts["start"])
            sides["bare"].append(bare(folder, parts["tokens"]))
            print(f"bare {sides['bare'][-1]:.1f} s   ours " + "   ".join(f"{k} {v:.1f}" for k, v in parts.items()), flush=True)
    bare_s, ours_s = (statistics.median(sides[name]) for name in ("bare", "ours"))
    print(f"ours {ours_s:.1f} s, bare {bare_s:.1f} s: {ours_s / bare_s:.2f} x")
    return 0


if __name__ == "__main__":
    sys.exit(main())
