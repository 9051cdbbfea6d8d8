"""Base models asked after at a hub on the loopback: there or not, open or gated, with the token and its licence."""

import pytest
from data_hub import SHA, data_hub

from kriptik.data.search.http import SearchError
from kriptik.data.search.hub import Hub
from kriptik.data.search.models import check_model

LLAMA = "meta-llama/Llama-3.2-3B-Instruct"


@pytest.fixture
def hub():
    with data_hub() as made:
        made.models = {
            "Qwen/Qwen3-8B": {"cardData": {"license": "apache-2.0"}},
            LLAMA: {"gated": "manual", "cardData": {"license": "llama3.2"}},
            "firm/own": {"private": True, "tags": ["license:mit"]},
        }
        yield made


def test_an_open_model_is_found_with_its_revision_and_licence(hub):
    found = check_model(Hub(hub.url, hub.url), "Qwen/Qwen3-8B")
    assert (found.status, found.revision, found.licence, found.gated) == ("open", SHA, "apache-2.0", False)


def test_a_gated_model_needs_terms_and_a_token_of_an_account_that_accepted_them(hub):
    nobody = check_model(Hub(hub.url, hub.url), LLAMA)
    assert nobody.status == "gated" and "HF_TOKEN" in nobody.next_step
    asked = check_model(Hub(hub.url, hub.url, "hf_mine"), LLAMA)
    assert asked.status == "gated" and "no access yet" in asked.sentence
    hub.granted.add(LLAMA)
    granted = check_model(Hub(hub.url, hub.url, "hf_mine"), LLAMA)
    assert granted.status == "granted" and granted.gated and granted.licence == "llama3.2"
    assert hub.asked[-1][1]["Authorization"] == "Bearer hf_mine"


def test_private_and_unknown_models(hub):
    assert check_model(Hub(hub.url, hub.url), "firm/own").status == "missing"
    hub.granted.add("firm/own")
    assert check_model(Hub(hub.url, hub.url, "hf_mine"), "firm/own").status == "granted"
    assert check_model(Hub(hub.url, hub.url, "hf_mine"), "Qwen/Qwen3.8-35B-A3B").status == "missing"


def test_a_renamed_model_is_followed_and_said(hub):
    hub.moved["old/name"] = "Qwen/Qwen3-8B"
    found = check_model(Hub(hub.url, hub.url), "old/name")
    assert found.id == "Qwen/Qwen3-8B" and found.status == "open" and "calls old/name" in found.sentence
    hub.moved["old/name"] = "http://elsewhere.example/x"
    with pytest.raises(SearchError):
        check_model(Hub(hub.url, hub.url), "old/name")


@pytest.mark.parametrize("name", ["../etc/passwd", "gs://bucket/model", "/data/model", "a/b/c", "one", "a/b?x=1"])
def test_what_is_no_id_is_not_asked(hub, name):
    assert check_model(Hub(hub.url, hub.url), name).status == "not_asked" and hub.asked == []


def test_a_hub_that_fails_or_is_away_is_a_sentence(hub):
    hub.refuse["/api/models"] = 503
    for endpoint in (hub.url, "http://127.0.0.1:9"):
        with pytest.raises(SearchError) as refused:
            check_model(Hub(endpoint, endpoint, "hf_secret"), "Qwen/Qwen3-8B")
        assert refused.value.code == "hub_not_answering" and "hf_secret" not in str(refused.value.problem())
