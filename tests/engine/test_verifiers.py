"""Checks of answers by rule: schemas, tests in a sandbox, tasks of reasoning-gym, as rewards too; and the ways out of the sandbox
that are shut."""

import json
import random
import socket
from pathlib import Path

import pytest
import tiny
import toy

from kriptik.engine.text.sandbox import passes
from kriptik.engine.text.verifiers import VERIFIERS, verifier
from kriptik.engine.train import train
from kriptik.spec.errors import WorkerError
from kriptik.spec.job import StageSettings

SCHEMA = {"type": "object", "properties": {"age": {"type": "integer", "minimum": 0}}, "required": ["age"]}
RIGHT = "Here it is:\n```python\ndef double(x):\n    return 2 * x\n```\n"
TESTS = ["assert double(2) == 4", "assert double('a') == 'aa'", "assert double(0) == 1"]


@pytest.mark.parametrize(
    ("said", "row", "options", "score"),
    [
        ('{"age": 3}', {"schema": SCHEMA}, {}, 1.0),
        ('```json\n{"age": 3}\n```', {"schema": SCHEMA}, {}, 1.0),
        ('{"age": -3}', {"schema": SCHEMA}, {}, 0.0),
        ('{"age": 3', {"schema": SCHEMA}, {}, 0.0),
        ('{"age": "3"}', {}, {"verifier": "json_schema", "schema": SCHEMA}, 0.0),
        ("a1", {"pattern": r"[a-z]\d"}, {}, 1.0),
        ("a12", {"pattern": r"[a-z]\d"}, {}, 0.0),
        (RIGHT, {"tests": TESTS}, {}, 2 / 3),
        (RIGHT, {"tests": "\n".join(TESTS[:2])}, {}, 1.0),
        ("It is 12.", {"answer": "12"}, {}, 1.0),
        ("paris", {"messages": [{"role": "assistant", "content": "Paris"}]}, {}, 1.0),
    ],
)
def test_a_row_says_how_it_is_checked(said, row, options, score):
    assert verifier(options)(said, row) == pytest.approx(score)


def gym():
    """The package; without a C compiler it is not installed."""
    return pytest.importorskip("reasoning_gym")


def test_a_task_of_reasoning_gym():
    entry = gym().create_dataset("basic_arithmetic", size=1, seed=3)[0]
    check = verifier({"verifier": "task"})
    assert check(f"So <answer>{entry['answer']}</answer>", {"task": entry}) == 1.0
    assert check("<answer>no idea</answer>", {"task": entry}) < 0.5


def conversation(question, answer, **check):
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}], **check}


def counted_letters():
    """Rows of a task of reasoning-gym, and its own word on an answer."""
    task = gym().create_dataset("letter_counting", size=24, seed=3, min_words=2, max_words=3)
    rows = [conversation(entry["question"], entry["answer"], task=entry) for entry in task]
    return rows, lambda said, row: task.score_answer(said.strip(), row["task"])


def young_ones():
    """Rows whose schema allows about half of the answers that they teach."""
    schema, draw = {**SCHEMA, "properties": {"age": {"type": "integer", "maximum": 4}}}, random.Random(3)
    rows = [conversation(f"Age {n}?", json.dumps({"age": draw.randint(0, 9)}), schema=schema) for n in range(24)]

    def allowed(said, row):
        try:
            found = json.loads(said)
        except ValueError:
            return 0.0
        return float(isinstance(found, dict) and type(found.get("age")) is int and found["age"] <= 4)

    return rows, allowed


@pytest.mark.parametrize(("name", "made"), [("task", counted_letters), ("json_schema", young_ones)])
def test_a_check_is_the_reward(tmp_path, monkeypatch, name, made):
    """Answers are learnt first, so that there are right and wrong ones; then each is worth what the row's own check says."""
    rows, oracle = made()
    first = StageSettings(micro_batch=4, learning_rate=5e-3, max_seq_len=256, packing=False, epochs=6)
    rewarded = {"group_size": 4, "max_new_tokens": 16, "doctor": 0}
    sizes = {"micro_batch": 2, "accumulation": 2, "learning_rate": 1e-3, "max_seq_len": 256, "packing": False}
    job = tiny.tiny_job(tmp_path, rows=rows, adaptation="full", settings=first)
    point = job.stages[0].point.model_copy(update={"objective": "grpo"})
    settings = StageSettings(max_steps=3, objective=rewarded, **sizes)
    job.stages.append(job.stages[0].model_copy(update={"index": 1, "name": "reward", "point": point, "settings": settings}))
    given, check, said = [], VERIFIERS[name], []

    def heard(answer, row, options):
        given.append((answer, row, check(answer, row, options)))
        return given[-1][2]

    monkeypatch.setitem(VERIFIERS, name, heard)
    train(job, said.append, toy.running)
    rewards = [body.reward_score for body in said if body.type == "metrics" and body.stage == 1]
    worth = [score for *_, score in given]
    assert worth == [oracle(answer, row) for answer, row, _ in given] and min(worth) < 0.5 < max(worth)
    assert len(worth) == 3 * 4 * 4
    assert rewards == pytest.approx([sum(worth[at : at + 16]) / 16 for at in (0, 16, 32)])


@pytest.mark.parametrize("options", [{"verifier": "share"}, {"verifier": "regex", "pattern": "("}, {"verifier": "nothing"}])
def test_a_check_that_cannot_be_made_is_refused(options):
    with pytest.raises(WorkerError):
        verifier(options)


@pytest.mark.parametrize(
    "program",
    [
        "assert 1 == 2",
        "import sys\nsys.exit(0)",
        "import os\nos._exit(0)",
        "raise SystemExit",
        "while True: pass",
        "x = bytearray(1 << 31)",
        "import subprocess\nsubprocess.run(['true'])",
        "import os\nos.system('true')",
        "import os\nos.fork()",
        "import ctypes",
        "import socket\nsocket.socket()",
        "open('/etc/hostname').read()",
        "open('../out.txt', 'w')",
        "import os\nos.listdir('/')",
        "import os\nos.kill(os.getppid(), 0)",
        "open('big', 'wb').write(b'0' * (3 << 20))",
        "this is no program",
    ],
)
def test_what_does_not_pass(program):
    assert not passes(program, seconds=1.0, memory_mb=256)


def test_what_passes():
    assert passes("import json, math, re, collections, dataclasses, random, itertools, functools")
    assert passes("open('mine.txt', 'w').write('x')\nassert open('mine.txt').read() == 'x'")


def test_no_network_even_to_this_machine(tmp_path):
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        port = listening.getsockname()[1]
        assert not passes(f"import _socket\n_socket.socket().connect(('127.0.0.1', {port}))")
    assert not list(Path(tmp_path).iterdir())
