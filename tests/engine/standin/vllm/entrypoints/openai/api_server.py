"""vLLM's server as far as rollouts use it, answered by transformers and PEFT; the real one is tested by `make test-vllm`.

It refuses what the real one (0.32) refuses: several answers at temperature 0, an adapter name that is loaded already, DoRA, a rank
above the highest, prompts that leave no room. Every adapter it is given is noted in `<model>/../seen.jsonl`.
"""

import argparse
import hashlib
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

parser = argparse.ArgumentParser()
parser.add_argument("--enable-lora", action="store_true", required=True)
for name in ("model", "served-model-name", "host", "dtype", "logprobs-mode"):
    parser.add_argument(f"--{name}", required=True)
for name in ("port", "max-model-len", "max-loras", "max-lora-rank", "seed"):
    parser.add_argument(f"--{name}", type=int, required=True)
parser.add_argument("--gpu-memory-utilization", type=float, required=True)
told = parser.parse_args()
torch.manual_seed(told.seed)
TOKENIZER = AutoTokenizer.from_pretrained(told.model)
BASE = AutoModelForCausalLM.from_pretrained(told.model, dtype=getattr(torch, told.dtype)).eval()
ADAPTERS = {}
NOTES = Path(told.model).parent / "seen.jsonl"


class RefusedError(Exception):
    """Answered with status 400."""


def load(body):
    name, folder = body["lora_name"], Path(body["lora_path"])
    config = json.loads((folder / "adapter_config.json").read_text())
    if name in ADAPTERS or len(ADAPTERS) > told.max_loras or config["use_dora"] or config["r"] > told.max_lora_rank:
        raise RefusedError(f"adapter {name}")
    weights = (folder / "adapter_model.safetensors").read_bytes()
    with NOTES.open("a") as notes:
        notes.write(json.dumps({"name": name, "sha256": hashlib.sha256(weights).hexdigest(), "model": told.model}) + "\n")
    plain = AutoModelForCausalLM.from_pretrained(told.model, dtype=BASE.dtype)
    ADAPTERS[name] = PeftModel.from_pretrained(plain, folder).eval()
    return f"Success: LoRA adapter '{name}' added successfully."


def unload(body):
    del ADAPTERS[body["lora_name"]]
    return f"Success: LoRA adapter '{body['lora_name']}' removed successfully."


def complete(body):
    if body["temperature"] == 0 and body["n"] > 1:
        raise RefusedError("n must be 1 when using greedy sampling")
    if any(len(one) + body["max_tokens"] > told.max_model_len for one in body["prompt"]):
        raise RefusedError("no room")
    model = BASE if body["model"] == told.served_model_name else ADAPTERS[body["model"]]
    choices = []
    for prompt in body["prompt"]:
        for _ in range(body["n"]):
            choices.append({"index": len(choices), **sampled(model, prompt, body)})
    choices.reverse()  # in no order that a client may rely on
    return {"object": "text_completion", "model": body["model"], "choices": choices}


def sampled(model, prompt, body):
    ids, log_probs = list(prompt), []
    while len(log_probs) < body["max_tokens"]:
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([ids])).logits[0, -1].float()
        scaled = (logits / body["temperature"] if body["temperature"] else logits).log_softmax(-1)
        token = int(torch.multinomial(scaled.exp(), 1) if body["temperature"] else scaled.argmax())
        ids.append(token)
        log_probs.append(float(scaled[token]))
        if token == TOKENIZER.eos_token_id:
            break
    return {"token_ids": ids[len(prompt) :], "logprobs": {"token_logprobs": log_probs}}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.give(200 if self.path == "/health" else 404, b"")

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        acts = {"/v1/completions": complete, "/v1/load_lora_adapter": load, "/v1/unload_lora_adapter": unload}
        try:
            found = acts[self.path](body)
            self.give(200, (found if isinstance(found, str) else json.dumps(found)).encode())
        except RefusedError as error:
            self.give(400, str(error).encode())

    def give(self, status, content):
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments):
        pass


if __name__ == "__main__":
    sys.stderr.write("ready\n")
    ThreadingHTTPServer((told.host, told.port), Handler).serve_forever()
