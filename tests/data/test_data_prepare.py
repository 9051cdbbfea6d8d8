"""From a file to prepared rows: complete, repeatable, all or nothing, and in bounded memory."""

import json
import random
import tracemalloc
import zipfile
from pathlib import Path

import pytest

from kriptik.data import builtin
from kriptik.data.doctor import sufficiency
from kriptik.data.prepare import PrepareSettings, check, file_sha256, prepare
from kriptik.spec.errors import DataError, KriptikError


def rows_file(path, count=100, extra=()):
    said = "Thing {n} is number {n} of the list of things."
    lines = [{"prompt": f"What about thing {n * 7919}?", "completion": said.format(n=n * 7919)} for n in range(count)]
    path.write_text("".join(json.dumps(line) + "\n" for line in [*lines, *extra]))
    return path


def read(*paths):
    return [json.loads(line) for path in paths if path for line in Path(path).read_text().splitlines()]


def test_files_are_complete_repeatable_and_keyed(tmp_path):
    source = rows_file(tmp_path / "rows.jsonl")
    one = prepare(source, tmp_path / "one", name="rows.jsonl", seed=3)
    two = prepare(source, tmp_path / "two", name="rows.jsonl", seed=3)
    assert (one.train_sha256, one.eval_sha256) == (two.train_sha256, two.eval_sha256)
    other = prepare(source, tmp_path / "three", name="rows.jsonl", seed=4)
    assert one.settings_key == two.settings_key != other.settings_key and other.eval_sha256 != one.eval_sha256
    rows = read(one.train_path, one.eval_path)
    assert len(rows) == 100 and all(row["key"] and row["messages"][1]["role"] == "assistant" for row in rows)
    assert not {row["key"] for row in read(one.train_path)} & {row["key"] for row in read(one.eval_path)}
    assert one.report.eval_rows == 20 and one.ref().overlap_rows == 0 and one.ref().sha256 == file_sha256(Path(one.train_path))


def test_the_same_folder_is_answered_again_repaired_or_replaced(tmp_path):
    source, folder = rows_file(tmp_path / "rows.jsonl"), tmp_path / "out"
    first = prepare(source, folder, name="rows.jsonl", capability="chat", licence="CC BY 4.0", source_name="Things")
    before = (folder / "train.jsonl").stat().st_mtime_ns
    assert prepare(source, folder, name="rows.jsonl", capability="chat") == first, "found, licence and source too"
    assert (folder / "train.jsonl").stat().st_mtime_ns == before
    (folder / "train.jsonl").write_text("broken")
    assert prepare(source, folder, name="rows.jsonl").train_sha256 == first.train_sha256 == file_sha256(folder / "train.jsonl")
    third = prepare(source, folder, name="rows.jsonl", settings=PrepareSettings(eval_fraction=0))
    assert third.eval_path is None and sorted(p.name for p in folder.iterdir()) == ["prepared.json", "recipe.json", "train.jsonl"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "rows.jsonl"]


def test_a_test_side_can_be_kept_aside(tmp_path):
    settings = PrepareSettings(test_fraction=0.1)
    made = prepare(rows_file(tmp_path / "r.jsonl"), tmp_path / "o", name="r.jsonl", settings=settings)
    assert (made.report.train_rows, made.report.eval_rows, made.report.test_rows) == (70, 20, 10)
    assert len(read(made.test_path)) == 10 and made.report.overlap_rows == 0


def test_a_zip_is_prepared_like_its_file(tmp_path):
    source = rows_file(tmp_path / "rows.jsonl")
    with zipfile.ZipFile(tmp_path / "rows.zip", "w") as archive:
        archive.write(source, "rows.jsonl")
    one = prepare(tmp_path / "rows.zip", tmp_path / "z", name="rows.zip")
    assert one.train_sha256 == prepare(source, tmp_path / "f", name="rows.jsonl").train_sha256


@pytest.mark.parametrize("old", [True, False])
def test_a_bad_line_7_leaves_no_folder(tmp_path, old):
    lines = rows_file(tmp_path / "rows.jsonl", 10).read_text().splitlines()
    if old:
        prepare(tmp_path / "rows.jsonl", tmp_path / "out", name="rows.jsonl")
    kept = sorted(tmp_path.rglob("*"))
    lines[6] = lines[6][:-5]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    with pytest.raises(DataError) as refused:
        prepare(tmp_path / "rows.jsonl", tmp_path / "out", name="rows.jsonl")
    assert refused.value.fields["row"] == 7 and "Row 7" in refused.value.sentence
    assert sorted(tmp_path.rglob("*")) == kept


def test_findings_count_show_and_mask(tmp_path):
    extra = [
        {"prompt": "Where do I write to?", "completion": "To anna.berg@example.com, please, or call +46 70 123 45 67."},
        {"prompt": "where do I write to", "completion": "To anna.berg@example.com,   please, or call +46 70 123 45 67"},
        {"prompt": "", "completion": "x"},
        {"prompt": "What is broken?", "completion": "Broken Ã¤ text and \ufffd marks."},
        {"prompt": "What is long?", "completion": "word " * 3000},
        {"prompt": "Marks?", "completion": "Ends here.<|im_end|>"},
    ]
    source = rows_file(tmp_path / "rows.jsonl", 20, extra)
    report = check(source, name="rows.jsonl", work=tmp_path).report
    found = {finding.code: finding for finding in report.findings}
    assert (report.rows, report.usable, report.duplicates_dropped) == (26, 24, 1)
    assert found["empty_question"].examples[0].row == 23
    assert found["personal_data"].fix == "mask_pii" and "email 2, phone 2" in found["personal_data"].sentence
    assert "anna.berg" not in report.model_dump_json()
    assert [found[code].count for code in ("damaged_text", "too_long", "chat_markup")] == [1, 1, 1]
    assert report.sufficiency.tier == "too_few" and report.ready
    fixes = ["drop_damaged_text", "drop_too_long", "mask_pii"]
    made = prepare(source, tmp_path / "o", name="rows.jsonl", settings=PrepareSettings(fixes=fixes))
    text = json.dumps(read(made.train_path, made.eval_path))
    assert "anna.berg" not in text and "[email]" in text and "[phone]" in text and "Ã¤" not in text and "word word" not in text
    assert made.fixes == fixes and made.report.usable == 22


def test_hardly_any_rows_are_an_error(tmp_path):
    source = rows_file(tmp_path / "rows.jsonl", 3)
    assert not check(source, name="rows.jsonl", work=tmp_path).report.ready
    with pytest.raises(DataError) as refused:
        prepare(source, tmp_path / "o", name="rows.jsonl")
    assert refused.value.code == "data_not_ready" and not (tmp_path / "o").exists()


def test_sufficiency_follows_the_catalogue():
    assert sufficiency(503, "messages", "text_generation").tier == "enough"
    assert sufficiency(503, "messages", "nonsense").need == 200
    assert sufficiency(499, "preferences", "chat").tier == "too_few"
    assert sufficiency(20_000, "messages", "chat").tier == "flagship"


def test_the_sample_is_whole_credited_and_without_overlap(tmp_path):
    for sample in builtin.SAMPLES.values():
        builtin.export(builtin.find_sample(sample.name), tmp_path / "s.jsonl")
        made = prepare(tmp_path / "s.jsonl", tmp_path / sample.name, name="s.jsonl", capability="text_generation")
        report = made.report
        assert (report.rows, report.usable, report.overlap_rows, report.eval_rows) == (503, 503, 0, 100)
        assert max(report.languages, key=report.languages.get) == sample.language
        assert "Zaragoza AB" in sample.credit and sample.licence == "CC BY 4.0"
        sides = [read(path) for path in (made.train_path, made.eval_path)]
        for turn in (0, 1):
            trained, held = ({row["messages"][turn]["content"].casefold() for row in side} for side in sides)
            assert not trained & held
    with pytest.raises(KriptikError, match="no sample"):
        builtin.find_sample("nothing")


def test_memory_hardly_grows_with_the_file(tmp_path):
    chance = random.Random(0)
    words = ["".join(chance.choices("abcdefghij", k=40)) for _ in range(500)]
    settings = PrepareSettings(near_duplicates=False)

    def peak(count):
        path = tmp_path / f"{count}.jsonl"
        with path.open("w") as out:
            for n in range(count):
                out.write(json.dumps({"prompt": f"Question {n}?", "completion": " ".join(chance.choices(words, k=100))}) + "\n")
        tracemalloc.start()
        assert prepare(path, tmp_path / f"o{count}", name="r.jsonl", settings=settings).report.usable == count
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used, path.stat().st_size

    (small, fewer), (large, more) = peak(150), peak(600)
    assert large - small < 0.25 * (more - fewer), f"{(large - small) / 1e6:.1f} MB more for {(more - fewer) / 1e6:.1f} MB of rows"
