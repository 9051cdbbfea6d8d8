"""Checks of answers by rule: schemas, tests in a sandbox, tasks of reasoning-gym; and the ways out of the sandbox that are shut."""

import socket
from pathlib import Path

import pytest

from kriptik.engine.text.sandbox import passes
from kriptik.engine.text.verifiers import verifier
from kriptik.spec.errors import WorkerError

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


def test_a_task_of_reasoning_gym():
    gym = pytest.importorskip("reasoning_gym")
    entry = gym.create_dataset("basic_arithmetic", size=1, seed=3)[0]
    check = verifier({"verifier": "task"})
    assert check(f"So <answer>{entry['answer']}</answer>", {"task": entry}) == 1.0
    assert check("<answer>no idea</answer>", {"task": entry}) < 0.5


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
