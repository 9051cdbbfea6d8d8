"""Rows that stay on disk: the same training to the bit, encoded once, little memory, bad lines named."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tiny import chat_rows, tiny_job

from kriptik.engine import rows
from kriptik.engine.interfaces import Encoded
from kriptik.engine.rows import EncodedFile, FileRows, encode_rows, lengths_of, open_rows
from kriptik.engine.train import train
from kriptik.spec.errors import DataError
from kriptik.spec.events import Desired, EvalResult, Metrics
from kriptik.spec.job import StageSettings


def write(path, made):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in made), encoding="utf-8")
    return path


def encoded(row, number):
    return Encoded(number, len(row["text"]), 1.0, {"ids": list(row["text"].encode())})


@pytest.fixture
def on_disk(monkeypatch):
    monkeypatch.setattr(rows, "IN_MEMORY_BYTES", 0)


def test_training_is_the_same(tmp_path, monkeypatch):
    def numbers(name):
        folder = tmp_path / name
        folder.mkdir()
        settings = StageSettings(micro_batch=2, learning_rate=5e-3, max_seq_len=96, epochs=2)
        said = []
        job = tiny_job(folder, eval_rows=chat_rows(6, seed=3), settings=settings, threads=1)
        train(job, said.append, lambda: Desired(version=1))
        return [body.loss for body in said if isinstance(body, Metrics | EvalResult)]

    held = numbers("held")
    monkeypatch.setattr(rows, "IN_MEMORY_BYTES", 0)
    assert numbers("on_disk") == held
    assert len(list((tmp_path / "on_disk" / "run" / "rows").glob("*.index"))) == 2


@pytest.mark.usefixtures("on_disk")
def test_encoded_once(tmp_path):
    raw = open_rows(write(tmp_path / "a.jsonl", [{"text": "jäh"}, {"text": "x"}, {"text": ""}]))
    asked = []

    def encode(row, number):
        asked.append(number)
        return encoded(row, number)

    first = encode_rows(raw, encode, tmp_path, {"form": "completion"})
    again = encode_rows(raw, encode, tmp_path, {"form": "completion"})
    assert asked == [0, 1, 2] and isinstance(again.encoded, EncodedFile)
    assert list(again.encoded) == list(first.encoded) == [encoded(row, number) for number, row in enumerate(raw)]
    assert lengths_of(again.encoded) == [3, 1, 0] and again.encoded[-1].row == 2 and len(again) == 3
    encode_rows(raw, encode, tmp_path, {"form": "prompt"})
    assert len(asked) == 6, "another form is encoded anew"


@pytest.mark.usefixtures("on_disk")
def test_what_was_half_written_is_made_anew(tmp_path):
    raw = open_rows(write(tmp_path / "a.jsonl", [{"text": "one"}, {"text": "two"}]))

    def dies(row, number):
        if number:
            raise KeyboardInterrupt
        return encoded(row, number)

    with pytest.raises(KeyboardInterrupt):
        encode_rows(raw, dies, tmp_path, {})
    assert [one.length for one in encode_rows(raw, encoded, tmp_path, {}).encoded] == [3, 3]


@pytest.mark.usefixtures("on_disk")
@pytest.mark.parametrize(("text", "code"), [("{}\n\n{x\n", "data_bad_line"), ("[]\n", "data_bad_line"), ("\n", "data_empty")])
def test_bad_lines_are_named(tmp_path, text, code):
    (tmp_path / "a.jsonl").write_text(text)
    with pytest.raises(DataError) as raised:
        open_rows(tmp_path / "a.jsonl")
    assert raised.value.code == code
    if "{x" in text:
        assert raised.value.fields["line"] == 3


@pytest.mark.usefixtures("on_disk")
def test_empty_lines_do_not_count(tmp_path):
    (tmp_path / "a.jsonl").write_text('\n{"a": 1}\n\n{"a": 2}')
    found = open_rows(tmp_path / "a.jsonl")
    assert isinstance(found, FileRows) and list(found) == [{"a": 1}, {"a": 2}] and found[0:2] == found[:]


MEMORY = """
import json, psutil, sys
from kriptik.engine import rows
from kriptik.engine.interfaces import Encoded
rows.IN_MEMORY_BYTES = int(sys.argv[2])
before = psutil.Process().memory_info().rss
def encode(row, number):
    return Encoded(number, 9, 1.0, {"ids": list(row["text"].encode())})
found = rows.encode_rows(rows.open_rows(sys.argv[1]), encode, rows.Path(sys.argv[3]), {})
total = sum(found.encoded[at].fields["ids"][0] for at in range(len(found)))
print(json.dumps([psutil.Process().memory_info().rss - before, total]))
"""


def test_memory_does_not_grow_with_the_data(tmp_path):
    """6 MB of rows: as objects more than 50 MB, on disk a few numbers per row."""
    file = write(tmp_path / "a.jsonl", [{"text": chr(97 + number % 26) * 300} for number in range(20_000)])

    def grown(limit, name):
        command = [sys.executable, "-c", MEMORY, str(file), str(limit), str(tmp_path / name)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        grew, total = json.loads(done.stdout)
        return grew / 1e6, total

    (held, one), (on_disk, two) = grown(1 << 30, "held"), grown(0, "disk")
    assert one == two and held > 40 and on_disk < 12, (held, on_disk)
    assert Path(file).stat().st_size > 6e6
