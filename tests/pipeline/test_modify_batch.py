"""`kriptik modify --batch`: the documented shape, direction of change, and rows that are broken."""

import json

import pytest

from kriptik.pipeline.modify_batch import modify_batch

START = {"capability": "chat", "tier": "consumer", "base_model": "Llama 3.1 8B", "gpu": "A100-80GB", "method": "lora"}
NAMES = {
    "params",
    "cost",
    "vram",
    "time",
    "epochs",
    "batch_size",
    "learning_rate",
    "seq_len",
    "rank",
    "gpu_count",
    "data_amount",
    "tier",
    "base_model",
    "method",
    "gpu",
    "provider",
    "budget_max_usd",
}


def one(words, start=None):
    (answer,) = modify_batch([{"id": "7", "start": START if start is None else start, "modification": words}])
    assert answer["id"] == "7"
    json.dumps(answer)
    return answer["contract"]


def test_shape():
    contract = one("I want a smaller model")
    assert set(contract) >= {"changed_tiles", "before", "after", "needs_clarification", "approval_required"}
    assert set(contract["before"]) == set(contract["after"]) == NAMES
    assert contract["changed_tiles"] == ["model", "budget"] and contract["approval_required"] is True
    assert contract["after"]["params"] < contract["before"]["params"]
    assert contract["before"]["base_model"] == "Llama 3.1 8B"
    same = ("method", "gpu", "tier", "data_amount", "epochs", "budget_max_usd", "gpu_count", "provider")
    assert all(contract["before"][name] == contract["after"][name] for name in same)


@pytest.mark.parametrize(
    ("words", "smaller"),
    [
        ("cheaper", "cost"),
        ("make it faster", "time"),
        ("use less memory", "vram"),
        ("fewer epochs", "epochs"),
        ("smaller rank", "rank"),
        ("less data", "data_amount"),
        ("something with fewer parameters", "params"),
        ("もっと安くして", "cost"),
    ],
)
def test_directions(words, smaller):
    contract = one(words)
    assert contract["after"][smaller] < contract["before"][smaller] and not contract["needs_clarification"]


def test_an_edit_leaves_data_and_method_alone():
    for words in ("bigger model", "use two H100", "cheaper", "faster", "only $50", "production ready"):
        contract = one(words)
        assert "data" not in contract["changed_tiles"], words
        assert contract["after"]["method"] == "lora" and contract["after"]["data_amount"] == contract["before"]["data_amount"], (
            words
        )


def test_unclear_edits_ask_and_change_nothing():
    for words in ("make it pop", "approve it now", "", "use 3 and 100000 epochs"):
        contract = one(words)
        assert contract["needs_clarification"] and contract["changed_tiles"] == [] and contract["before"] == contract["after"], (
            words
        )


@pytest.mark.parametrize(
    "row",
    [
        {},
        {"id": 1, "error": "broken line 7"},
        {"id": 1, "start": None, "modification": "cheaper"},
        {"id": 1, "start": [], "modification": "cheaper"},
        {"id": 1, "start": {"capability": 5, "tier": [], "gpu": {}, "method": 1, "base_model": None}, "modification": "cheaper"},
        {
            "id": 1,
            "start": {"gpu": "abacus", "method": "magic", "base_model": "acme/wonder-13b"},
            "modification": "a smaller model",
        },
        {"id": 1, "start": {"capability": "flying"}, "modification": 12},
        {"id": 1, "start": {"gpu": "8x H100", "method": "full-finetune"}, "modification": "x" * 50_000},
    ],
)
def test_no_row_raises(row):
    (answer,) = modify_batch([row])
    assert answer["id"] == row.get("id")
    assert answer["contract"]["approval_required"] is True


def test_a_start_names_its_gpus():
    assert one("use 3 epochs", {**START, "gpu": "4x A100"})["before"]["gpu_count"] == 4
    pipeline = {"capability": "music_generation", "tier": "flagship", "gpu": "H100", "method": "flagship_music"}
    contract = one("use 4 H100 instead of 8", pipeline)
    assert (contract["before"]["gpu_count"], contract["after"]["gpu_count"]) == (8, 4)
    assert contract["after"]["time"] > contract["before"]["time"]
