"""A worker without a model that tells everything a real one tells: set-up, smoke test, curves, evaluations, samples, logs.

Knobs come in the first stage's `objective`: stepS (default: SCENE_STEP_S), setupS, failAt, crashAt, approvalAt, slowFrom
(from this step on a step takes a second), offset (steps that were made before), experts (how many). It speaks the worker's
protocol and commits real checkpoint folders, so freeze, resume and rollback run on the real server.
"""

import json
import math
import os
import random
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "server"))
import fake_worker
from fake_worker import Worker

STEP_S = float(os.environ.get("SCENE_STEP_S", "0.02"))
PROMPTS = (
    ("How do I reset my password?", "Open Settings, choose Security, then Reset password."),
    ("Where can I see my last invoice?", "Under Billing, in the list of invoices."),
)
ROW = "user: My parcel has not arrived, what now?\nassistant: I am sorry about that. I look up the tracking number first."
SETUP = (
    ("framework", "Loaded the base model: 135 M parameters"),
    ("data", "1,280 rows packed into 212 sequences"),
    ("monitoring", "Metrics every second, checkpoints every 10 steps"),
    ("verification", "0.12 s per step, 1.4 GB at most; loss on 8 rows 3.41 to 3.12 in 6 updates; 46% of tokens teach"),
)


class SceneWorker(Worker):
    """Tells a run as a person would see it."""

    def __init__(self, job):
        super().__init__(job)
        self.knobs = {"stepS": STEP_S, **self.knobs}

    def say(self, **body):
        if body["type"] == "setup" and "message" in body and body["message"] == "ok":
            return self.set_up(body["stage"])
        if body["type"] == "result":
            body |= {"evalBefore": self.measured(0), "evalAfter": self.measured(self.total)}
            body |= self.model_files()
            body |= {"trainSeconds": self.total * self.knobs["stepS"], "tokens": self.total * 640, "tokensPerSecond": 2140.0}
        if body["type"] == "checkpoint":
            body |= {"bytes": 19_800_000, "loss": self.loss(body["step"])}
        super().say(**body)
        if body["type"] == "worker" and body["state"] == "started":
            self.log("info", "Worker started")
        return None

    def set_up(self, stage):
        message = dict(SETUP)[stage]
        pause = self.knobs.get("setupS", 0.02)
        super().say(type="setup", stage=stage, status="running", progress=0.4, message=message)
        self.flush(1)
        time.sleep(pause)
        super().say(type="setup", stage=stage, status="completed", progress=1.0, message=message)
        if stage == "verification" and not (self.run_dir / "probed").exists():
            (self.run_dir / "probed").write_text("")
            super().say(type="probe", result=self.probe())
            for prompt, expected in PROMPTS:
                said = "What is the password?"
                super().say(type="sample", stage=0, step=0, input=prompt, output=said, expected=expected, base=True)
            self.evaluate(0)
        self.flush(1)

    def probe(self):
        step = self.knobs.get("stepS", STEP_S)
        return {
            "secondsPerStep": step,
            "stepSecondsSpread": 0.08,
            "tokensPerSecond": 2140.0,
            "peakMemoryGb": 1.42,
            "loadS": 1.1,
            "evalS": 0.4,
            "sampleS": 0.9,
            "checkpointS": 0.2,
            "checkpointBytes": 19_800_000,
            "totalSteps": [self.total] * len(self.job["stages"]),
            "lossFirst": 3.41,
            "lossLast": 3.12,
            "learns": True,
            "supervisedFraction": 0.46,
            "eosSupervised": True,
            "supervisedRows": 1.0,
            "fittedRows": 8,
            "fittedUpdates": 6,
        }

    def model_files(self):
        """A model's folder as large as SmolLM2's, without bytes in it: sizes are read from headers."""
        for name, shape in (("model", [134_515_008]), ("adapter", [4_884_480])):
            folder = self.run_dir / "result" / name
            folder.mkdir(parents=True, exist_ok=True)
            header = json.dumps({"w": {"dtype": "F32", "shape": shape, "data_offsets": [0, 4 * shape[0]]}}).encode()
            with (folder / f"{name}.safetensors").open("wb") as file:
                file.write(len(header).to_bytes(8, "little") + header)
                file.truncate(8 + len(header) + 4 * shape[0])
        (folder.parent / "model" / "config.json").write_text('{"model_type": "llama", "architectures": ["LlamaForCausalLM"]}')
        return {"adapterPath": "result/adapter", "modelPath": "result/model"}

    def log(self, severity, message):
        super().say(type="log", severity=severity, message=message)

    def evaluate(self, step):
        super().say(**self.measured(step))

    def measured(self, step):
        loss = self.loss(step) + 0.08
        spread = [loss + random.Random(n).uniform(-0.3, 0.3) for n in range(64)]
        return {
            "type": "eval",
            "stage": 0,
            "step": step,
            "loss": sum(spread) / 64,
            "rows": 64,
            "tokens": 64 * 66,
            "rowLosses": spread,
            "rowTokens": [66] * 64,
        }

    def loss(self, step):
        return 0.9 + 2.3 * math.exp(-4 * step / self.total) + random.Random(step).uniform(-0.06, 0.06)

    def experts(self, step):
        """The shares that a router of so many experts tells of: each likes its own noise level, more and more."""
        count, found = self.knobs.get("experts", 0), {}
        for side, level in (("low", 0.25), ("high", 0.75)):
            likings = [math.exp(-(1 + 4 * step / self.total) * abs((n + 0.5) / count - level)) for n in range(count)]
            found |= {f"expert_{n}_{side}_noise": one / sum(likings) for n, one in enumerate(likings)}
        return found | {"balance": 1.04} if count else {}

    def knob(self, step):
        super().knob(step)
        if step >= self.knobs.get("slowFrom", math.inf):
            time.sleep(1)

    def answer(self, asked):
        """What a model might say: the base beside the point, the tuned one in the words of the data."""
        question = asked.get("textPrompt") or asked.get("codeInput") or ""
        known = dict(PROMPTS).get(question, "I look that up for you. Please send me your order number.")
        said = (
            known
            if asked["target"] == "tuned"
            else "To reset your password, you will need to contact the support team of the company."
        )
        return {
            "output": said,
            "latency": 1.3,
            "tokensUsed": len(said.split()),
            "cost": 0.0021,
            "metadata": {"weights": asked["target"]},
        }

    def metrics(self, made):
        step = made + self.knobs.get("offset", 0)
        share = step / self.total
        super().say(
            type="metrics",
            stage=0,
            step=step,
            totalSteps=self.total,
            epoch=2 * share,
            totalEpochs=2,
            loss=self.loss(step),
            learningRate=2e-4 * (0.5 + 0.5 * math.cos(math.pi * share)),
            gradientNorm=0.7 + random.Random(-step).uniform(0, 0.5),
            tokens=640,
            tokensPerSecond=2140.0 + random.Random(step).uniform(-90, 90),
            samplesProcessed=step * 8,
            totalSamples=self.total * 8,
            elapsedS=step * 0.3,
            cpuUtilization=92 + random.Random(step).uniform(-6, 6),
            ramUsedGb=1.4,
            custom=self.experts(step),
        )
        if step % 3 == 0:
            super().say(type="current_sample", index=step * 8 % 1280, content=ROW, source="support-faq")
        if step % 10 == 0:
            self.evaluate(step)
            self.log("info", f"Evaluated at step {step}: held-out loss {self.loss(step) + 0.08:.3f}")
            for prompt, expected in PROMPTS:
                super().say(type="sample", stage=0, step=step, input=prompt, output=expected, expected=expected, base=False)
        if step % 7 == 0:
            self.log("debug", f"step {step}: 8 rows, 640 tokens")
        if step == 12:
            self.log("warning", "One row was longer than 1,024 tokens and was cut")
            far = {"loss": 11.4, "usualLoss": 2.31, "gradientNorm": 24.0, "rows": [96, 97], "file": "health/s0-000012.json"}
            super().say(type="alarm", kind="spike", stage=0, step=step, shown=[ROW, "question: ?\nanswer: ////////////"], **far)


fake_worker.Worker = SceneWorker
if __name__ == "__main__":
    fake_worker.main()
