"""Looking for data over real HTTP on the loopback: what is told of a hit, and that what is fetched is what was listed."""

import json
import zipfile

import pytest
from data_hub import SHA, data_hub

from kriptik.data.search import folders
from kriptik.data.search.http import SearchError
from kriptik.data.search.hub import Hub
from kriptik.data.search.others import WebSearch, licensed, papers
from kriptik.spec.errors import DataError

ROWS = "".join(json.dumps({"question": f"What of roof {n}?", "answer": f"It is roof {n}."}) + "\n" for n in range(30)).encode()
MOST = 1 << 20


@pytest.fixture
def hub():
    with data_hub() as made:
        made.files = {"data/train.jsonl": ROWS, "data/test.jsonl": ROWS[:100], "pictures/a.png": b"x"}
        yield made


def on(hub, **options):
    return Hub(hub.url, hub.url, **options)


def test_a_hit_has_licence_size_revision_and_what_others_make_of_it(hub):
    (found,) = on(hub).search("roof repairs", 5)
    assert (found.id, found.licence, found.rows, found.languages) == ("firm/roofs", "cc-by-4.0", (1_000, 10_000), ["en"])
    assert found.revision == SHA and found.fetchable and found.quality.downloads == 1234 and found.quality.described
    assert found.quality.updated.year == 2025
    assert "search=roof+repairs" in hub.asked[0][0] and "limit=5" in hub.asked[0][0]


def test_a_preview_shows_rows_and_goes_without_where_there_is_no_viewer(hub):
    shown = on(hub).look("firm/roofs", None)
    assert shown.revision == SHA and shown.files == ["data/train.jsonl", "data/test.jsonl"]
    assert shown.rows == [{"question": "Why?", "answer": "So."}]
    hub.refuse["/splits"] = 501
    assert on(hub).look("firm/roofs", None).rows == []


def test_what_is_fetched_is_pinned_and_checked(hub, tmp_path):
    target = tmp_path / "got"
    assert on(hub).fetch("firm/roofs", None, None, target, MOST) == (SHA, "data/train.jsonl", "cc-by-4.0")
    assert target.read_bytes() == ROWS and f"/datasets/firm/roofs/resolve/{SHA}/data/train.jsonl" in hub.asked[-1][0]
    on(hub).fetch("firm/roofs", SHA, "data/test.jsonl", target, MOST)
    assert f"/revision/{SHA}" in hub.asked[-2][0] and target.read_bytes() == ROWS[:100]


@pytest.mark.parametrize(
    ("file", "lie", "most", "code"),
    [
        ("data/train.jsonl", ROWS[:-1] + b" ", MOST, "source_changed"),
        ("data/train.jsonl", None, 100, "source_too_large"),
        ("data/train.jsonl", ROWS * 500, len(ROWS), "source_too_large"),
        ("data/none.jsonl", None, MOST, "no_such_file"),
        ("pictures/a.png", None, MOST, "no_such_file"),
        ("../secret.jsonl", None, MOST, "no_such_file"),
    ],
)
def test_what_is_not_as_listed_is_refused(hub, tmp_path, file, lie, most, code):
    if lie is not None:
        hub.lie[file] = lie
    with pytest.raises(DataError) as refused:
        on(hub).fetch("firm/roofs", None, file, tmp_path / "got", most)
    assert refused.value.code == code


MEDIA = {f"train/{n}.wav": b"RIFF" + bytes([n]) * 40 for n in range(4)}
TABLE = {"train/metadata.csv": b"file_name,text\n0.wav,said 0\n"}


def zipped(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_a_folder_of_media_comes_as_a_zip_pinned_and_checked(hub, tmp_path):
    test = {"test/9.wav": b"RIFF9", "test/metadata.csv": b"file_name,text\n"}
    hub.files = {**test, **MEDIA, **TABLE, "train/0.txt": b"said", "LICENSE": b"free"}
    shown = on(hub).look("firm/roofs", None)
    assert shown.files == ["train/", "test/", "test/metadata.csv", "train/metadata.csv"]
    assert on(hub).search("roof", 1)[0].fetchable
    target = tmp_path / "got"
    assert on(hub).fetch("firm/roofs", None, None, target, MOST) == (SHA, "train.zip", "cc-by-4.0")
    assert zipped(target) == {**MEDIA, **TABLE, "train/0.txt": b"said"}
    assert all(f"/resolve/{SHA}/" in path for path, _ in hub.asked if "/resolve/" in path)
    first = target.read_bytes()
    on(hub).fetch("firm/roofs", SHA, "train/", target, MOST)
    assert target.read_bytes() == first, "the same files make the same zip"
    assert on(hub).fetch("firm/roofs", SHA, "test/", target, MOST)[1] == "test.zip" and set(zipped(target)) == set(test)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["got"]


def test_media_without_a_table_come_all_together_and_beside_other_rows_not_at_all(hub, tmp_path):
    hub.files = {"cats/1.png": b"x", "dogs/1.png": b"y", "README.md": b"pets"}
    assert on(hub).fetch("firm/roofs", None, None, tmp_path / "got", MOST)[1] == "files.zip"
    assert set(zipped(tmp_path / "got")) == {"cats/1.png", "dogs/1.png"}
    hub.files["data/train.jsonl"] = ROWS
    assert on(hub).fetch("firm/roofs", None, None, tmp_path / "got", MOST)[1] == "data/train.jsonl"
    assert on(hub).look("firm/roofs", None).files == ["data/train.jsonl"]


@pytest.mark.parametrize(
    ("lie", "most", "files", "code"),
    [
        ({"train/2.wav": b"RIFFother"}, MOST, MEDIA, "source_changed"),
        ({"train/2.wav": b"R" * 400}, 300, MEDIA, "source_too_large"),
        ({}, 100, MEDIA, "source_too_large"),
        ({}, MOST, {f"train/{n}.png": b"" for n in range(folders.MOST_FILES + 1)}, "source_too_large"),
    ],
)  # fmt: skip
def test_a_folder_is_bounded_and_no_other_than_listed(hub, tmp_path, lie, most, files, code):
    hub.files, hub.lie = dict(files), lie
    with pytest.raises(DataError) as refused:
        on(hub).fetch("firm/roofs", None, None, tmp_path / "got", most)
    assert refused.value.code == code


def test_a_set_of_test_files_alone_is_not_trained_on_unasked(hub, tmp_path):
    hub.files = {"data/test.jsonl": ROWS}
    with pytest.raises(DataError, match=r"data/test\.jsonl"):
        on(hub).fetch("firm/roofs", None, None, tmp_path / "got", MOST)


def test_the_token_goes_along_and_a_refusal_says_what_to_do(hub):
    hub.token = "hf_secret"
    assert on(hub, token="hf_secret").search("roof", 1)
    with pytest.raises(SearchError) as refused:
        on(hub).search("roof", 1)
    assert "401" in refused.value.sentence and "token" in refused.value.next_step
    assert "hf_secret" not in str(refused.value.problem())


def test_papers_and_pages(hub, monkeypatch):
    (paper,) = papers("roof repair", 3, f"{hub.url}/api/query")
    assert (paper.id, paper.title, paper.kind) == ("2401.00001v2", "A Dataset of Roof Repairs", "academic") and not paper.fetchable
    for provider in ("searxng", "brave"):
        (page,) = WebSearch(provider, hub.url, "key").find("roofs", 3)
        assert page.kind == "web" and page.summary == "Many roofs" and "terms" in page.licence_note
    assert hub.asked[-1][1].get("X-Subscription-Token") == "key"
    hub.feed = '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "c">]><feed>&b;</feed>'
    with pytest.raises(SearchError):
        papers("roof", 3, f"{hub.url}/api/query")


def test_a_source_that_is_away_is_a_sentence():
    with pytest.raises(SearchError) as refused:
        Hub("http://127.0.0.1:9", "http://127.0.0.1:9").search("roof", 1)
    assert "127.0.0.1" in refused.value.sentence


def test_licensed_providers_come_by_capability():
    assert {one.id for one in licensed("music_generation")} == {"shutterstock"} and len(licensed(None)) >= 5
    assert all(one.licence and one.licence_note and one.url.startswith("https://") for one in licensed(None))
