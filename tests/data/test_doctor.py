"""What the doctor finds is shown with row, column and fix; the fixes mend or drop exactly that, the same way every time."""

import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kriptik.data.checks import repair
from kriptik.data.checks.table import FIXES, KINDS, words_of
from kriptik.data.prepare import PrepareSettings, check, prepare
from kriptik.spec.errors import DataError

ROOT = Path(__file__).parents[2]
FACTS = [
    ("How long does a permit take?", "The legal limit is ten weeks. It can be longer for large houses."),
    ("Who pays the inspection?", "The owner pays it. The price depends on the size of the house."),
    ("Can I paint in the winter?", "Yes, inside the house. Outside it has to be above five degrees."),
    ("What does a new roof cost?", "Most roofs cost between ten and twenty thousand. We look at yours first."),
    ("Do you work on weekends?", "No, our offices are closed then. Urgent leaks are the exception."),
    ("How do I reach a builder?", "Write to us through the form on the page. We answer within two days."),
]


def rows_of(count=60):
    return [
        {"question": f"{asked[:-1]} in street {n * 7919}?", "answer": f"{said} This is matter {n * 104729} of the year."}
        for n in range(count)
        for asked, said in [FACTS[n % len(FACTS)]]
    ]


def file_of(path, rows):
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows), "utf-8")
    return path


def found(path, fixes=(), **settings):
    asked = PrepareSettings(fixes=list(fixes), **settings)
    return check(path, name=path.name, work=path.parent, settings=asked, forgive=True)


def made(path, out, fixes=()):
    done = prepare(path, out, name=path.name, settings=PrepareSettings(fixes=list(fixes)))
    return done, [
        json.loads(line) for side in (done.train_path, done.eval_path) if side for line in Path(side).read_text().splitlines()
    ]


def test_a_clean_file_gives_no_warning(tmp_path):
    report = found(file_of(tmp_path / "r.jsonl", rows_of(240))).report
    assert [one.code for one in report.findings if one.severity != "info"] == [] and report.languages == {"en": 240}


def test_every_finding_has_its_place_its_share_and_a_fix(tmp_path):
    rows = rows_of()
    rows[4]["answer"] = "I'm sorry, but I can't help with that."
    rows[9]["answer"] = rows[9]["answer"] + "<|im_end|>"
    rows[9]["question"] = "<p>" + rows[9]["question"] + "</p>"
    report = found(file_of(tmp_path / "r.jsonl", rows)).report
    several = {one.code: one for one in report.findings}
    refused, marks, html = several["refusals"], several["chat_markup"], several["html_remnants"]
    assert (refused.count, refused.examples[0].row, refused.examples[0].column) == (1, 5, "answer")
    assert refused.fix == "drop_refusals" and refused.share == pytest.approx(1 / 60, abs=1e-6)
    assert marks.examples[0].column == "answer" and "im_end" not in (marks.examples[0].after or "im_end")
    assert (
        html.examples[0].column == "question" and "<p>" in html.examples[0].text and "<p>" not in (html.examples[0].after or "<p>")
    )
    assert all(one.fix is None or one.fix in FIXES for one in report.findings)


def test_rows_that_cannot_be_read_are_counted_named_and_left_out_by_a_fix(tmp_path):
    rows = [*rows_of(20), '{"question": "torn', {"question": "No answer?"}, {"question": {"a": 1}, "answer": "x"}, *rows_of(20)[:1]]
    path = file_of(tmp_path / "r.jsonl", rows)
    with pytest.raises(DataError) as refused:
        check(path, name=path.name, work=tmp_path)
    assert refused.value.fields == {"row": 21, "unreadable": 3, "fix": "drop_unreadable_rows"}
    examination = found(path)
    bad = next(one for one in examination.report.findings if one.code == "unreadable_rows")
    assert not examination.report.ready and [one.row for one in bad.examples] == [21, 22, 23]
    assert [one.column for one in bad.examples] == [None, "answer", "question"]
    done, written = made(path, tmp_path / "o", ["drop_unreadable_rows"])
    assert done.report.ready and len(written) == 20
    assert next(one for one in done.report.findings if one.code == "unreadable_rows").fixed


def test_fixes_mend_or_drop_and_nothing_else_changes(tmp_path):
    rows = rows_of()
    damage = {
        0: ("mask_pii", "Write to anna@example.com or +46 70 123 45 67.", "Write to [email] or [phone]."),
        1: ("mask_secrets", "The key is AKIA0123456789ABCDEF, keep it.", "The key is [secret], keep it."),
        2: ("repair_text", "FÃ¶r att\u200b mÃ¥la huset kostar det mycket.", "För att måla huset kostar det mycket."),
        3: ("strip_html", "<p>Call us &amp; ask.</p><br>We answer.", "Call us & ask.\n\nWe answer."),
        4: ("strip_markup", "That is all of it.<|im_end|>", "That is all of it."),
        5: ("unescape_text", "First wait.\\nThen call \\u00e4gare.", "First wait.\nThen call ägare."),
        6: ("squeeze_spaces", "Please wait" + " " * 30 + "for us.", "Please wait for us."),
    }
    for number, (_, text, _) in damage.items():
        rows[number]["answer"] = text
    path = file_of(tmp_path / "r.jsonl", rows)
    _, before = made(path, tmp_path / "before")
    done, after = made(path, tmp_path / "after", [fix for fix, _, _ in damage.values()])
    answers = {row["messages"][1]["content"] for row in after}
    assert {want for _, _, want in damage.values()} <= answers and len(after) == len(before) == 60
    assert len(answers - {row["messages"][1]["content"] for row in before}) == len(damage)
    assert {one.code for one in done.report.findings if one.fixed} == {
        *("personal_data", "secrets", "damaged_text", "control_characters", "html_remnants", "chat_markup", "escaped_text"),
        "odd_spacing",
    }
    left = {one.code for one in done.report.findings if one.severity == "warning"}
    assert left == {"few_rows", "other_language"}, "one row is Swedish, as can be seen now"


def test_swapped_sides_are_turned_and_boilerplate_is_dropped(tmp_path):
    rows = rows_of()
    rows[3] = {"question": rows[3]["answer"], "answer": rows[3]["question"]}
    for number in (10, 20, 30):
        rows[number]["answer"] = "Our whole team wishes you a pleasant day."
    path = file_of(tmp_path / "r.jsonl", rows)
    codes = {one.code: one.count for one in found(path).report.findings}
    assert codes["swapped_sides"] == 1 and codes["boilerplate"] == 3
    _, written = made(path, tmp_path / "o", ["swap_sides", "drop_boilerplate"])
    assert len(written) == 57 and all(row["messages"][0]["content"].endswith("?") for row in written)


def test_preferences_that_their_own_scores_contradict(tmp_path):
    rows = [
        {
            "prompt": row["question"],
            "chosen": row["answer"],
            "rejected": f"No idea about {n * 31}.",
            "score_chosen": 8,
            "score_rejected": 2,
        }
        for n, row in enumerate(rows_of())
    ]
    rows[5] = {**rows[5], "chosen": rows[5]["rejected"], "rejected": rows[5]["chosen"], "score_chosen": 2, "score_rejected": 8}
    rows.append({**rows[7], "chosen": rows[7]["rejected"], "rejected": rows[7]["chosen"]})
    path = file_of(tmp_path / "r.jsonl", rows)
    examination = found(path)
    assert examination.doctor.rows_of("swapped_pairs") == [6] and examination.doctor.rows_of("contradicting_pairs") == [8, 61]
    assert "length_bias" in examination.doctor.codes()
    _, written = made(path, tmp_path / "o", ["swap_pairs", "drop_contradicting_pairs"])
    assert len(written) == 59 and all(row["rejected"][0]["content"].startswith("No idea") for row in written)


def test_the_same_source_and_recipe_give_the_same_bytes(tmp_path):
    rows = rows_of()
    rows[2]["answer"] = "Mail bo@example.org about it, please."
    path = file_of(tmp_path / "r.jsonl", rows)
    one, _ = made(path, tmp_path / "one", ["mask_pii", "drop_refusals"])
    two, _ = made(path, tmp_path / "two", ["drop_refusals", "mask_pii"])
    other, _ = made(path, tmp_path / "three", ["mask_pii"])
    assert (one.train_sha256, one.eval_sha256, one.recipe_sha256) == (two.train_sha256, two.eval_sha256, two.recipe_sha256)
    assert other.recipe_sha256 != one.recipe_sha256
    recipe = json.loads((tmp_path / "one" / "recipe.json").read_text())
    assert recipe["settings"]["fixes"] == ["drop_refusals", "mask_pii"] and recipe["libraries"]["ftfy"] == metadata.version("ftfy")


def test_a_file_s_own_test_part_that_repeats_its_training_part(tmp_path):
    rows = [{**row, "split": "test" if n >= 50 else "train"} for n, row in enumerate(rows_of())]
    rows[55] = {**rows[10], "split": "test"}
    assert found(file_of(tmp_path / "r.jsonl", rows)).doctor.rows_of("leaks") == [56]


def test_a_corpus_of_ten_pairs_repeated_is_refused_in_plain_words(tmp_path):
    pytest.importorskip("chatterbot_corpus")
    file = next(one for one in metadata.files("chatterbot-corpus") or () if str(one).endswith("english/tech_support.yml"))
    source = Path(str(file.locate()))
    report = check(source, name="tech_support.yml", work=tmp_path, capability="chat").report
    assert (report.rows, report.usable, report.ready) == (1050, 10, False)
    assert report.findings[0].sentence.startswith("Only 10 of 1,050 rows are different; the other 1,040 repeat them word for word")
    with pytest.raises(DataError, match="Only 10 of 1,050 rows are different") as refused:
        prepare(source, tmp_path / "o", name="tech_support.yml", capability="chat")
    assert refused.value.code == "data_not_ready"


def test_repeated_rows_that_leave_enough_are_a_warning(tmp_path):
    path = file_of(tmp_path / "r.jsonl", rows_of(240) * 3)
    report = found(path).report
    assert report.ready and {one.code: one.severity for one in report.findings}["many_repeats"] == "warning"


@given(st.text(max_size=200), st.sampled_from(sorted(repair.TEXT_REPAIRS)))
def test_a_repair_is_the_same_every_time_and_stays_when_repeated_on_what_it_made(text, name):
    mend = repair.TEXT_REPAIRS[name]
    assert mend(text) == mend(text)
    if name in ("repair_text", "mask_pii", "mask_secrets"):
        assert mend(mend(text)) == mend(text)


@pytest.mark.parametrize("code", sorted(KINDS))
@pytest.mark.parametrize("count", [1, 2])
def test_every_kind_has_a_whole_sentence(code, count):
    said = words_of(code, count, None, "so it is", 1024)
    assert said.endswith(".") and "{" not in said and ".." not in said


def test_the_benchmark_in_small(tmp_path):
    done = subprocess.run(
        [sys.executable, str(ROOT / "bench" / "data_doctor.py"), "--small"],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    figures = json.loads(done.stdout)
    assert len(figures["kinds"]) >= 50 and min(one["recall"] for one in figures["kinds"].values()) >= 0.95
    assert figures["clean"]["FAQ, English"]["rows"] <= 0.02
    assert all(one["found"] == one["of"] and not one["wrong"] for one in figures["sets"].values())
