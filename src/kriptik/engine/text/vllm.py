"""Answers sampled by vLLM, a server of its own beside the run: it holds the base, and is given the adapter anew after every update.

It lives in an environment of its own (its pins are not ours): `KRIPTIK_VLLM` names that environment's Python. Sampling there cannot
be repeated bit for bit, so every answer is on the disk before it is used, and a resumed run is given the same ones. Its numbers
differ from the trainer's in the last bits: each token's log-probability comes along, and the objective corrects for it.

Settings (`settings.objective`): `rollouts`: "vllm"; `vllm_memory` (0.35), the share of the GPU's memory that it may take.
"""

import contextlib
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx

from kriptik.engine.base import find_base
from kriptik.engine.checkpoint import Checkpoints
from kriptik.engine.interfaces import Encoded, Session
from kriptik.engine.text.judges import Record
from kriptik.engine.text.rollouts import Rollouts, completion
from kriptik.spec.errors import WorkerError

PYTHON = "KRIPTIK_VLLM"
FOLDER = "rollouts"
START_S, ANSWER_S, LOOK_S, END_S = 900.0, 1800.0, 0.5, 20.0
RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""Highest ranks that vLLM can be told."""
DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
LAUNCH = (
    "import ctypes, os, signal, sys\n"
    "ctypes.CDLL(None).prctl(1, signal.SIGTERM)\n"  # PR_SET_PDEATHSIG: a killed worker leaves no server on the GPU
    "os.execv(sys.executable, [sys.executable, '-m', 'vllm.entrypoints.openai.api_server', *sys.argv[1:]])\n"
)
SURROUNDINGS = {"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1"}


class Vllm(Rollouts):
    """See the file. Started with the first rollouts of a stage; ended with the stage, or with this process however that ends."""

    def __init__(self, options: dict[str, Any]) -> None:
        self._share = float(options.get("vllm_memory", 0.35))
        self._url, self._shown = "", ""
        self._end: Any = None
        self._record: Record | None = None

    def of(self, prompts: Sequence[Encoded], session: Session, *, count: int, longest: int, temperature: float) -> list[Encoded]:
        """See Rollouts. Raises WorkerError where vLLM does not start, does not answer, or cannot hold this model."""
        folder = Path(session.job.run_dir) / FOLDER
        record = self._record_of(folder / f"s{session.stage}-{session.step:06d}.jsonl")
        asked = [row.fields["ids"] for row in prompts]
        key = hashlib.sha256(json.dumps([count, longest, temperature, asked]).encode()).hexdigest()
        found = record.get(key)
        if found is None:
            self._show(session, folder, longest)
            found = json.dumps(self._asked(asked, count, longest, temperature), separators=(",", ":"))
            record.add(key, found)
            _forget(session, folder)
        return [
            completion(prompts[at // count], ids, log_probs if temperature > 0 else None)
            for at, (ids, log_probs) in enumerate(json.loads(found))
        ]

    def end(self) -> None:
        """See Rollouts."""
        if self._end is not None:
            self._end()
        self._url, self._shown, self._end = "", "", None

    def _record_of(self, path: Path) -> Record:
        """The step's answers, read from the disk once."""
        if self._record is None or self._record.path != path:
            self._record = Record(path)
        return self._record

    def _asked(self, prompts: list[list[int]], count: int, longest: int, temperature: float) -> list[tuple[list[int], list[float]]]:
        body = {
            "model": self._shown, "prompt": prompts, "n": count, "max_tokens": longest, "temperature": temperature,
            "top_p": 1.0, "top_k": -1, "repetition_penalty": 1.0, "logprobs": 0, "return_token_ids": True,
        }  # fmt: skip
        choices = sorted(self._post("/v1/completions", body).json()["choices"], key=lambda one: int(one["index"]))
        if len(choices) != len(prompts) * count:
            raise _silent(f"{len(choices)} answers came for {len(prompts) * count}")
        return [(list(one["token_ids"]), list(one["logprobs"]["token_logprobs"])) for one in choices]

    def _show(self, session: Session, folder: Path, longest: int) -> None:
        """The weights as they are now. A new name and folder each time: vLLM keeps what it read of prompts by these."""
        name = f"s{session.stage}-{session.step:06d}"
        if self._shown == name:
            return
        adapter = folder / f"adapter-{name}"
        if not session.adaptation.adapter or session.bundle.unquantised is not None or session.runtime.world > 1:
            raise _unfit()
        session.adaptation.save(session.bundle, adapter)
        rank = _rank_of(adapter)
        if not self._url:
            self._start(session, folder, rank, longest)
        self._post("/v1/load_lora_adapter", {"lora_name": name, "lora_path": str(adapter.resolve())})
        if self._shown:
            self._post("/v1/unload_lora_adapter", {"lora_name": self._shown})
            shutil.rmtree(folder / f"adapter-{self._shown}", ignore_errors=True)
        self._shown = name

    def _start(self, session: Session, folder: Path, rank: int, longest: int) -> None:
        python = os.environ.get(PYTHON, "")
        if not Path(python).is_file():
            what = "Rollouts by vLLM were asked for, and no environment with vLLM is known here."
            raise WorkerError("no_vllm", what, f"Install vLLM in an environment of its own and set {PYTHON} to its Python.")
        config: Any = session.bundle.trainee.config
        most = min(session.settings.max_seq_len + longest, int(getattr(config, "max_position_embeddings", 1 << 30)))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = int(free.getsockname()[1])
        options = {
            "model": str(_base(session, folder)), "served-model-name": "base", "host": "127.0.0.1", "port": port,
            "dtype": DTYPES[session.job.precision], "max-model-len": most, "max-loras": 1, "max-lora-rank": rank,
            "gpu-memory-utilization": self._share, "seed": session.job.seed % (1 << 31), "logprobs-mode": "processed_logprobs",
        }  # fmt: skip
        command = [python, "-c", LAUNCH, "--enable-lora", *(part for k, v in options.items() for part in (f"--{k}", str(v)))]
        log = folder / "vllm.log"
        with log.open("ab") as out:
            around = {**os.environ, **SURROUNDINGS}
            pipes = {"stdin": subprocess.DEVNULL, "stdout": out, "stderr": out}
            process = subprocess.Popen(command, env=around, start_new_session=True, **pipes)
        self._end = weakref.finalize(self, _stop, process)
        self._url = f"http://127.0.0.1:{port}"
        until = time.monotonic() + START_S
        while not _healthy(self._url):
            if process.poll() is not None or time.monotonic() > until:
                self.end()
                raise WorkerError("vllm_not_started", f"vLLM did not start: {_last_words(log)}", "See vllm.log of the run.")
            time.sleep(LOOK_S)

    def _post(self, path: str, body: dict[str, Any]) -> httpx.Response:
        try:
            answer = httpx.post(self._url + path, json=body, timeout=ANSWER_S, trust_env=False)
        except httpx.HTTPError as error:
            raise _silent(type(error).__name__) from error
        if answer.status_code != 200:
            raise _silent(f"status {answer.status_code}: {answer.text[:300]}")
        return answer


def _rank_of(adapter: Path) -> int:
    """The rank to tell vLLM. Raises WorkerError for an adapter that it cannot hold."""
    file = adapter / "adapter_config.json"
    config = json.loads(file.read_text()) if file.is_file() else {}
    plain = config.get("peft_type") == "LORA" and not config.get("use_dora") and not config.get("modules_to_save")
    highest = next((one for one in RANKS if one >= int(config.get("r") or 0)), None)
    if not plain or highest is None:
        raise _unfit()
    return highest


def _unfit() -> WorkerError:
    return WorkerError(
        "unfit_for_vllm",
        "Rollouts by vLLM take a LoRA of rank up to 512 on a base in plain weights, in one process.",
        "Choose LoRA on one GPU, or let transformers answer (rollouts: transformers).",
    )


def _base(session: Session, folder: Path) -> Path:
    """The weights under the adapter: the base's own folder, or, where an earlier stage changed them, a copy as they are now."""
    if not session.bundle.modified:
        return find_base(session.job).folder
    kept = folder / f"base-s{session.stage}"
    model: Any = session.bundle.trainee
    marks = ("base_model.model.", ".base_layer")
    state = {key: one for key, one in model.state_dict().items() if ".lora_" not in key}
    state = {key.removeprefix(marks[0]).replace(marks[1], ""): one for key, one in state.items()}
    model.get_base_model().save_pretrained(kept, state_dict=state)
    session.bundle.tokenizer.save_pretrained(kept)
    return kept


def _forget(session: Session, folder: Path) -> None:
    """Answers from before the oldest of the last two checkpoints are asked for no more."""
    kept = [name.rsplit("-g", 1)[0] for name in Checkpoints(session.job.run_dir).ids()[-2:]]
    if len(kept) < 2:
        return
    for old in folder.glob("s*-*.jsonl"):
        if old.stem < min(kept):
            old.unlink()


def _healthy(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=5, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """Ends the server and what it started; also where it died itself and left them."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(END_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _last_words(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if "error" in line.lower() and " WARNING " not in line]
    return (lines[-1] if lines else "it took too long")[-300:]


def _silent(why: str) -> WorkerError:
    return WorkerError("vllm_silent", f"vLLM did not answer: {why}.", "Resume: the run goes on from its last checkpoint.")
