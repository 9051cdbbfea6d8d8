"""Zip files: honest ones are read, all others are refused before a byte is written."""

import io
import json
import stat
import zipfile

import pytest

from kriptik.data import archive
from kriptik.data.prepare import check
from kriptik.spec.errors import DataError

ROWS = "".join(json.dumps({"prompt": f"Question {n}?", "completion": f"Answer {n}."}) + "\n" for n in range(10))


def packed(*entries, **options):
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED, **options) as made:
        for name, content in entries:
            made.writestr(name, content)
    return held.getvalue()


def link():
    info = zipfile.ZipInfo("rows.jsonl")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return packed((info, "/etc/passwd"))


def patched(content, marks, offset, value):
    """Every header of the kind changed at an offset from its mark."""
    data = bytearray(content)
    for mark, at in zip(marks, offset, strict=True):
        start = data.find(mark)
        data[start + at : start + at + len(value)] = value
    return bytes(data)


LOCAL, CENTRAL = b"PK\x03\x04", b"PK\x01\x02"
ENCRYPTED = patched(packed(("rows.jsonl", ROWS)), (LOCAL, CENTRAL), (6, 8), b"\x01\x00")
LYING = patched(packed(("rows.jsonl", ROWS)), (LOCAL, CENTRAL), (22, 24), (20).to_bytes(4, "little"))
DAMAGED = packed(("rows.jsonl", ROWS))[:45] + b"\xff\x00\xff" + packed(("rows.jsonl", ROWS))[48:]


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (packed(("../rows.jsonl", ROWS)), "zip_path"),
        (packed(("a/../../rows.jsonl", ROWS)), "zip_path"),
        (packed(("/rows.jsonl", ROWS)), "zip_path"),
        (packed(("C:rows.jsonl", ROWS)), "zip_path"),
        (packed(("..\\rows.jsonl", ROWS)), "zip_path"),
        (link(), "zip_link"),
        (packed(("rows.jsonl", ROWS), ("more.zip", b"x")), "zip_nested"),
        (packed(("rows.jsonl", ROWS), ("more.tar.gz", b"x")), "zip_nested"),
        (packed(("rows.jsonl", b"1" * (8 << 20))), "zip_bomb"),
        (ENCRYPTED, "zip_encrypted"),
        (DAMAGED, "bad_zip"),
        (packed(("picture.png", b"x")), "zip_without_rows"),
        (packed(), "zip_without_rows"),
        (b"PK\x03\x04 nothing", "bad_zip"),
    ],
)
def test_refused(tmp_path, content, code):
    (tmp_path / "a.zip").write_bytes(content)
    work = tmp_path / "work"
    with pytest.raises(DataError) as refused:
        check(tmp_path / "a.zip", name="a.zip", work=work)
    assert refused.value.code == code
    assert list(work.iterdir()) == []


def test_an_entry_larger_than_it_says_is_cut_off(tmp_path):
    (tmp_path / "a.zip").write_bytes(LYING)
    with pytest.raises(DataError) as refused:
        check(tmp_path / "a.zip", name="a.zip", work=tmp_path / "work")
    assert refused.value.code in ("zip_bomb", "bad_zip") and list((tmp_path / "work").iterdir()) == []


def test_too_many_entries_and_too_large_in_sum(tmp_path, monkeypatch):
    (tmp_path / "a.zip").write_bytes(packed(*((f"{n}.jsonl", ROWS) for n in range(6))))
    monkeypatch.setattr(archive, "MAX_ENTRIES", 5)
    with pytest.raises(DataError, match="more than 5 entries"):
        check(tmp_path / "a.zip", name="a.zip", work=tmp_path)
    monkeypatch.setattr(archive, "MAX_ENTRIES", 10)
    with (
        pytest.raises(DataError, match="larger than"),
        archive.unpacked(tmp_path / "a.zip", tmp_path, max_bytes=len(ROWS) * 5),
    ):
        raise AssertionError("it was unpacked")


def test_files_of_one_kind_become_one_set_and_the_rest_is_named(tmp_path):
    table = "question,answer\nWho pays?,The buyer pays.\nWho builds?,The firm builds.\n"
    content = packed(("a/rows.jsonl", ROWS), ("b/table.csv", table), ("README.md", "hello"), ("__MACOSX/._rows.jsonl", "junk"))
    (tmp_path / "data.bin").write_bytes(content)
    checked = check(tmp_path / "data.bin", name="data.zip", work=tmp_path)
    assert checked.report.rows == 12 and checked.report.usable == 12
    assert next(f for f in checked.report.findings if f.code == "files_left_out").count == 2


def test_other_kinds_and_bad_rows_name_their_file(tmp_path):
    mixed = packed(("a.jsonl", ROWS), ("b.jsonl", '{"text": "Once."}\n'))
    (tmp_path / "a.zip").write_bytes(mixed)
    with pytest.raises(DataError, match=r"b\.jsonl holds rows of kind text"):
        check(tmp_path / "a.zip", name="a.zip", work=tmp_path)
    (tmp_path / "b.zip").write_bytes(packed(("a.jsonl", ROWS), ("b.jsonl", ROWS + "{torn\n")))
    with pytest.raises(DataError) as refused:
        check(tmp_path / "b.zip", name="b.zip", work=tmp_path)
    assert refused.value.fields == {"row": 11, "file": "b.jsonl", "unreadable": 1, "fix": "drop_unreadable_rows"}
