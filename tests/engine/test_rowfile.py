"""Rows that lie on disk are the rows that would lie in memory: same order, same plan, same tensors."""

import json

import pytest

from kriptik.engine import cursor
from kriptik.engine.cursor import Rows, read_rows
from kriptik.engine.interfaces import Encoded
from kriptik.engine.modalities.text import Text
from kriptik.spec.errors import DataError
from kriptik.spec.job import StageSettings


def written(path, rows):
    path.write_text("\n".join(["", *(json.dumps(row, ensure_ascii=False) for row in rows), "", ""]), "utf-8")
    return path


def encode(row, number):
    ids = [ord(one) % 97 for one in row["text"]]
    return Encoded(number, len(ids), float(len(ids) - 1), {"documents": [{"ids": ids}]})


def test_a_file_is_a_sequence_of_its_rows(tmp_path):
    rows = [{"text": f"Räkna till {n}" * (n % 5 + 1)} for n in range(50)]
    found = read_rows(written(tmp_path / "r.jsonl", rows))
    assert list(found) == rows and found[-1] == rows[-1] and found[10:13] == rows[10:13] and len(found) == 50
    with pytest.raises(IndexError):
        found[50]


@pytest.mark.parametrize("packing", [True, False])
def test_rows_laid_aside_are_planned_and_read_as_if_they_were_in_memory(tmp_path, monkeypatch, packing):
    rows = read_rows(written(tmp_path / "r.jsonl", [{"text": "x" * (n * 7 % 31 + 1)} for n in range(200)]))
    kept = Rows(rows, encode)
    monkeypatch.setattr(cursor, "KEPT", 10)
    aside = Rows(rows, encode)
    assert isinstance(kept.encoded, list) and not isinstance(aside.encoded, list)
    assert list(aside.encoded) == kept.encoded and aside.encoded[3:9] == kept.encoded[3:9] and len(aside) == len(kept)
    settings = StageSettings(packing=packing, max_seq_len=64, micro_batch=3, accumulation=2)
    plans = [object.__new__(Text).plan_epoch(one.outline, 7, 1, settings, 2) for one in (kept, aside)]
    assert plans[0] == plans[1]
    assert [(one.row, one.length, one.weight) for one in aside.outline] == [
        (one.row, one.length, one.weight) for one in kept.encoded
    ]


@pytest.mark.parametrize(
    ("text", "code"), [('{"text": 1}\n{torn\n', "data_bad_line"), ("[1]\n", "data_bad_line"), ("\n\n", "data_empty")]
)
def test_what_cannot_be_read_is_said_at_once(tmp_path, text, code):
    (tmp_path / "r.jsonl").write_text(text)
    with pytest.raises(DataError) as refused:
        read_rows(tmp_path / "r.jsonl")
    assert refused.value.code == code
    with pytest.raises(DataError) as refused:
        read_rows(tmp_path / "none.jsonl")
    assert refused.value.code == "data_missing"
