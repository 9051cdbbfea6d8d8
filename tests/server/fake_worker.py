"""A worker without a model: speaks the protocol, commits real checkpoint folders, computes a number instead of weights.

Its "training" is a chain: state_{k+1} = sha256(state_k). A resume that lost or repeated a step ends with another state.
Knobs come in the first stage's `objective`: stepS, crashAt (step, once per run), failAt (with failCode), hang, saveS, deaf,
approvalAt.
"""

import hashlib
import json
import os
import sys
import threading
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime
from pathlib import Path

FAILURES = {
    "out_of_memory": ("Out of memory.", "Use a smaller batch."),
    "disk_full": ("A checkpoint could not be written: No space left on device.", "Free disk space, then resume."),
}


class Gone(Exception):
    """The server wants nothing more of this generation."""


class Worker:
    def __init__(self, job):
        self.job = job
        self.run_dir = Path(job["runDir"])
        self.stage = job["stages"][0]
        self.knobs = self.stage["settings"].get("objective", {})
        self.total = self.stage["settings"].get("maxSteps") or 50
        self.g = job["generation"]
        self.base = f"{job['control']['serverUrl']}/api/worker/v1/jobs/{job['jobId']}/generations/{self.g}"
        spool = self.run_dir / "events" if job["kind"] == "train" else Path(sys.argv[1]).parent.parent / "events"
        spool.mkdir(parents=True, exist_ok=True)
        self.spool = spool / f"g{self.g}.jsonl"
        self.events, self.acked = [], 0
        self.desired = {"version": 0, "state": "running", "requests": []}

    def call(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {os.environ['KRIPTIK_WORKER_TOKEN']}", "Content-Type": "application/json"}
        request = urllib.request.Request(self.base + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                lease = json.load(answer)
        except urllib.error.HTTPError as error:
            if error.code in (401, 404, 409):
                raise Gone(error.read().decode()) from error
            return None
        except OSError:
            return None
        self.acked, self.desired = lease["ackSeq"], lease["desired"]
        return lease

    def say(self, **body):
        event = {
            "generation": self.g,
            "seq": len(self.events) + 1,
            "at": datetime.now(UTC).isoformat(),
            "body": body,
        }
        self.events.append(event)
        with self.spool.open("a") as handle:
            handle.write(json.dumps(event) + "\n")

    def flush(self, limit_s=30.0):
        end = time.monotonic() + limit_s
        while self.acked < len(self.events) and time.monotonic() < end:
            batch = self.events[self.acked : self.acked + 200]
            if self.call("POST", "/events", {"events": batch}) is None:
                time.sleep(0.05)

    def save(self, step, state, reason):
        time.sleep(self.knobs.get("saveS", 0))
        name = f"s0-{step:06d}-g{self.g}"
        folder = self.run_dir / "checkpoints" / name
        folder.mkdir(parents=True, exist_ok=True)
        shard = json.dumps({"step": step, "state": state}).encode()
        (folder / "state.json").write_bytes(shard)
        files = {"state.json": {"sha256": hashlib.sha256(shard).hexdigest(), "bytes": len(shard)}}
        manifest = json.dumps({"stage": 0, "step": step, "files": files}).encode()
        (folder / "manifest.json").write_bytes(manifest)
        (folder / "_COMPLETE").write_text("")
        self.say(
            type="checkpoint",
            checkpointId=name,
            stage=0,
            step=step,
            bytes=len(shard),
            manifestSha256=hashlib.sha256(manifest).hexdigest(),
            seconds=0.01,
            loss=1.0,
            reason=reason,
        )
        return name

    def train(self):
        step, state = 0, "start"
        self.say(type="worker", state="started")
        if self.job.get("resumeFrom"):
            kept = json.loads((self.run_dir / "checkpoints" / self.job["resumeFrom"] / "state.json").read_text())
            step, state = kept["step"], kept["state"]
            self.say(type="worker", state="restored", checkpointId=self.job["resumeFrom"], exact=True)
        for name in ("framework", "data", "monitoring", "verification"):
            self.say(type="setup", stage=name, status="completed", progress=1.0, message="ok")
        self.say(type="worker", state="ready")
        self.say(type="stage", index=0, name=self.stage["name"], status="started")
        self.flush()
        while step < self.total:
            step, state = step + 1, hashlib.sha256(state.encode()).hexdigest()
            self.metrics(step)
            if step % 10 == 0:
                self.save(step, state, "interval")
            self.knob(step)
            self.flush(0.2)
            time.sleep(self.knobs.get("stepS", 0.01))
            if self.knobs.get("deaf"):
                continue
            wanted = self.desired["state"]
            if wanted != "running":
                self.leave(step, state, "freeze" if wanted == "frozen" else "stop", wanted)
                return
        name = self.save(step, state, "stage_end")
        (self.run_dir / "result").mkdir(exist_ok=True)
        (self.run_dir / "result" / "state.json").write_text(state)
        self.say(type="stage", index=0, name=self.stage["name"], status="completed")
        self.say(type="result", adapterPath="result", modelPath="result", bytes=64)
        self.say(type="worker", state="completed", checkpointId=name)
        self.flush()

    def metrics(self, step):
        self.say(
            type="metrics",
            stage=0,
            step=step,
            totalSteps=self.total,
            epoch=step / self.total,
            totalEpochs=1,
            loss=3 - step / self.total,
            learningRate=1e-4,
            gradientNorm=1.0,
            tokens=10,
            tokensPerSecond=100.0,
            samplesProcessed=step,
            totalSamples=self.total,
            elapsedS=step * 0.01,
        )

    def knob(self, step):
        mark = self.run_dir / "crashed"
        if self.knobs.get("crashAlways") == step or (self.knobs.get("crashAt") == step and not mark.exists()):
            mark.write_text("")
            os._exit(9)
        code = self.knobs.get("failCode", "out_of_memory")
        message, step_to_take = FAILURES[code]
        if self.knobs.get("failAt") == step and not (code == "disk_full" and mark.exists()):
            mark.write_text("")
            self.say(type="worker", state="failed", code=code, message=message, nextStep=step_to_take)
            self.flush()
            os._exit(1)
        if self.knobs.get("approvalAt") == step and self.job["stages"][1]["requiresApproval"]:
            self.wait_for_approval(step)
        while self.knobs.get("hang") == step:
            time.sleep(0.5)

    def wait_for_approval(self, step):
        self.say(type="stage", index=0, name=self.stage["name"], status="completed")
        self.say(type="stage", index=1, name=self.job["stages"][1]["name"], status="awaiting_approval")
        name = self.save(step, "waiting", "stage_end")
        self.say(type="worker", state="awaiting_approval", checkpointId=name)
        self.flush()
        raise SystemExit

    def leave(self, step, state, reason, wanted):
        version = self.desired["version"]
        name = self.save(step, state, reason)
        self.say(type="worker", state=wanted, checkpointId=name)
        self.flush()
        self.call("POST", "/desired/ack", {"version": version, "result": "done", "checkpointId": name})

    def serve(self):
        self.say(type="worker", state="started")
        self.say(type="worker", state="ready")
        self.flush()
        done, since = set(), 0
        while self.desired["state"] == "running":
            self.call("GET", f"/desired?since={since}&wait=1")
            since = self.desired["version"]
            for pending in self.desired["requests"]:
                if pending["requestId"] in done:
                    continue
                done.add(pending["requestId"])
                self.say(type="test_result", requestId=pending["requestId"], result=self.answer(pending["request"]))
                self.flush()
        self.say(type="worker", state="stopped")
        self.flush()

    def export(self):
        """Writes one file per form. Knobs: exportS (seconds held back), exportFails (a code)."""
        order = self.job["export"]
        self.say(type="worker", state="started")
        self.say(type="export_progress", progress=0.5, message="Merging, and comparing with what was trained")
        self.flush()
        held = time.monotonic() + self.knobs.get("exportS", 0)
        while time.monotonic() < held and self.desired["state"] == "running":
            self.call("GET", f"/desired?since={self.desired['version']}&wait=0.2")
        if self.desired["state"] != "running":
            self.say(type="worker", state="stopped")
            self.flush()
            return
        if code := self.knobs.get("exportFails"):
            sentence = "Logits of the GGUF file (f16), read back, are off by 3.1e-01 of the largest (limit 0.01)."
            step = "The files were not kept. Try a type with more bits (f16), or export it merged."
            self.say(type="worker", state="failed", code=code, message=sentence, nextStep=step)
            self.flush()
            os._exit(1)
        self.say(type="export", result=self.exported(order))
        self.say(type="worker", state="completed")
        self.flush()

    def exported(self, order):
        files = []
        for form in order["request"]["formats"]:
            file = self.run_dir / "exports" / order["id"] / {"merged": "model", "ollama": "gguf"}.get(form, form) / f"{form}.bin"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(form.encode() * 1000)
            found = {"path": str(file.relative_to(self.run_dir)), "bytes": file.stat().st_size}
            files.append({**found, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()})
        parity = [
            ("template", "4 of 4 conversations have the same token ids by the exported tokenizer and template.", 0, 0),
            ("merged", "Logits of the merged model, read back, are off by 3.1e-07 of the largest (limit 0.001).", 3.1e-07, 1e-3),
        ]
        return {
            "folder": f"exports/{order['id']}",
            "files": files,
            "bytes": sum(file["bytes"] for file in files),
            "predictedBytes": 5000,
            "parity": [{"name": n, "sentence": s, "measured": m, "limit": x, "passed": True} for n, s, m, x in parity],
            "commands": [{"name": "vllm", "command": "vllm serve ./model --served-model-name kriptik --max-model-len 8192"}],
            "seconds": 2.5,
        }

    def answer(self, asked):
        output = f"{asked['target']}: {asked.get('textPrompt')}"
        return {"output": output, "latency": 0.01, "cost": 0, "metadata": {"weights": "x"}}


def main():
    job = json.loads(Path(sys.argv[1]).read_text())
    worker = Worker(job)
    parent = os.getppid()
    threading.Thread(target=lambda: _end_with(parent), daemon=True).start()
    try:
        {"serve": worker.serve, "export": worker.export, "train": worker.train}[job["kind"]]()
    except Gone:
        raise SystemExit(3) from None


def _end_with(parent):
    """Never outlives the test run."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(4)


if __name__ == "__main__":
    main()
