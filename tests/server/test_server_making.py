"""Over the API: questions out of a document, pairs compared by a model or by people, data fetched from a hub."""

import io
import json
from decimal import Decimal

import pytest
from data_hub import SHA, data_hub
from model_host import model_host
from PIL import Image

GUIDE = (
    "# Roofs\n\nA roof of clay tiles lasts about sixty years when it is inspected every second spring. The ridge is the first part "
    "to leak, and moss should be brushed off dry, since water is pressed under the tiles.\n"
)
ROWS = [
    {"prompt": f"What is to be done in house {n * 7919}?", "completion": f"The walls of house {n * 31} are to be painted."}
    for n in range(8)
]


def picture(number):
    sink = io.BytesIO()
    Image.new("RGB", (80, 72), (number * 37, 90, 60)).save(sink, format="PNG")
    return sink.getvalue()


def upload(server, path, content, name):
    return server.api("POST", path, 201, files={"file": (name, content)})


@pytest.fixture
def host(server):
    with model_host() as made:
        server.core.settings.llm, server.core.settings.llm_model = "openai", "small"
        server.core.settings.llm_url = f"{made.url}/v1"
        yield made


def verdict(better):
    return json.dumps({"better": better, "why": "so"})


def test_a_document_becomes_rows_after_its_forecast(server, host):
    told = upload(server, "/data/documents", GUIDE.encode(), "guide.md")
    assert told["passages"] == 1 and told["forecast"]["calls"] == 1 and Decimal(told["forecast"]["expectedUsd"]) == 0
    asked = server.api("POST", f"/data/documents/{told['documentId']}/rows", json={"rowsWanted": 4, "perPassage": 4})
    assert asked["datasetId"] is None and host.asked == [], "nothing is asked unconfirmed"
    pairs = [
        {
            "question": f"What about the roof, in matter {n}?",
            "answer": f"It lasts about sixty years, as matter {n} says.",
            "quote": quote,
        }
        for n, quote in enumerate(
            ["lasts about sixty years", "The ridge is the first part", "brushed off dry", "every second spring"]
        )
    ]
    host.replies.append(json.dumps({"pairs": pairs}))
    made = server.api(
        "POST", f"/data/documents/{told['documentId']}/rows", json={"rowsWanted": 4, "perPassage": 4, "confirmed": True}
    )
    assert made["rows"] == 4 and made["preview"][0]["provenance"]["file"] == "guide.md"
    assert server.api("GET", f"/data/{made['datasetId']}")["source"] == "synthetic"
    assert server.api("POST", "/data/documents/01ARZ3NDEKTSV4RRFFQ69G5FAV/rows", 404, json={})["code"] == "no_such_document"


def test_pairs_by_comparison_are_judged_both_ways_round(server, host):
    data = upload(server, "/data", "".join(json.dumps(row) + "\n" for row in ROWS).encode(), "rows.jsonl")
    wanted = {"sourceData": data["id"], "generationMethod": "model_comparison", "pairsNeeded": 5}
    told = server.api("POST", "/data/preference-pairs", 201, json=wanted)
    assert told["forecast"]["calls"] == 15 and told["datasetId"] is None and host.asked == []
    for number in range(5):
        better = ("A", "B") if number else ("A", "A")
        host.replies += [json.dumps({"answer": f"Paint it with oil, house number {number * 77}."}), *map(verdict, better)]
    made = server.api("POST", "/data/preference-pairs", 201, json={**wanted, "confirmed": True})
    assert made["total"] == 4 and made["rejected"] == {"judge_unsure": 1}
    kept = server.api("GET", f"/data/{made['datasetId']}")
    assert kept["report"]["kind"] == "preferences" and kept["rows"] == 4


def test_people_compare_pairs_that_the_data_holds_and_no_model_is_asked(server):
    rows = [
        {"prompt": row["prompt"], "chosen": row["completion"], "rejected": f"I do not know the house of number {n * 13}."}
        for n, row in enumerate(ROWS)
    ]
    data = upload(server, "/data", "".join(json.dumps(row) + "\n" for row in rows).encode(), "rows.jsonl")
    wanted = {"sourceData": data["id"], "generationMethod": "human_annotation", "pairsNeeded": 8}
    made = server.api("POST", "/data/preference-pairs", 201, json=wanted)
    home = f"/data/preference-pairs/{made['id']}"
    shown = server.api("GET", f"{home}/annotations")
    assert (shown["total"], shown["labelled"], len(shown["pairs"])) == (8, 0, 8)
    assert server.api("POST", f"{home}/dataset", 422)["code"] == "nothing_compared"
    labels = [{"index": one["index"], "better": "b" if "do not know" in one["a"] else "a"} for one in shown["pairs"][:6]]
    assert server.api("PUT", f"{home}/annotations", json={"labels": labels})["labelled"] == 6
    assert [one["index"] for one in server.api("GET", f"{home}/annotations?open=true")["pairs"]] == [6, 7]
    done = server.api("POST", f"{home}/dataset", 201)
    kept = server.api("GET", f"/data/{done['datasetId']}")
    assert kept["report"]["kind"] == "preferences" and kept["rows"] == 6
    assert server.api("PUT", f"{home}/annotations", 422, json={"labels": [{"index": 99, "better": "a"}]})["code"] == "no_such_pair"
    nobody = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
    assert server.api("GET", f"/data/preference-pairs/{nobody}/annotations", 404)["code"] == "no_such_annotation"


def test_without_a_model_nothing_is_made(server):
    told = upload(server, "/data/documents", GUIDE.encode(), "guide.md")
    assert told["forecast"]["model"] is None
    answer = server.api("POST", f"/data/documents/{told['documentId']}/rows", 502, json={"confirmed": True})
    assert answer["code"] == "no_model" and "KRIPTIK_LLM" in answer["nextStep"]


def test_data_is_found_looked_at_and_fetched_from_the_hub(server, monkeypatch):
    body = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
    with data_hub() as hub:
        hub.files = {"data/train.jsonl": body}
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        server.core.settings.arxiv_url = f"{hub.url}/api/query"
        found = server.api("GET", "/search-data?query=roof&capability=chat&minSamples=5000")
        kinds = [one["kind"] for one in found["sources"]]
        assert kinds[0] == "huggingface" and {"academic", "licensed"} <= set(kinds) and "web" not in kinds
        assert found["sources"][0]["enough"] is True and "web was not searched" in " ".join(found["notes"])
        assert server.api("POST", "/data/hub/preview", json={"id": "firm/roofs"})["revision"] == SHA
        assert server.api("POST", "/data/hub", 422, json={"id": "firm/roofs"})["code"] == "licence_not_accepted"
        made = server.api("POST", "/data/hub", 201, json={"id": "firm/roofs", "licenceAccepted": True})
        assert made["source"] == "huggingface" and made["licence"] == "cc-by-4.0" and made["rows"] == 8
        assert made["name"] == f"firm/roofs@{SHA[:12]}/train.jsonl"
        table = "file_name,text\n" + "".join(f"{n}.png,roof {n}\n" for n in range(6))
        hub.files = {**{f"train/{n}.png": picture(n) for n in range(6)}, "train/metadata.csv": table.encode()}
        folder = server.api("POST", "/data/hub", 201, json={"id": "firm/roofs", "licenceAccepted": True})
        assert folder["name"] == f"firm/roofs@{SHA[:12]}/train.zip" and folder["format"] == "images" and folder["rows"] == 6
        assert {one["caption"] for one in folder["report"]["preview"]} <= {f"roof {n}" for n in range(6)}
        hub.files = {"data/train.jsonl": body}
        hub.lie["data/train.jsonl"] = body[:-1] + b" "
        assert server.api("POST", "/data/hub", 422, json={"id": "firm/roofs", "licenceAccepted": True})["code"] == "source_changed"
        hub.refuse["/api/"] = 503
        notes = server.api("GET", "/search-data?query=roof")["notes"]
        assert any(note.startswith("Hugging Face:") for note in notes)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert server.api("POST", "/data/hub/preview", 502, json={"id": "firm/roofs"})["code"] == "offline"
