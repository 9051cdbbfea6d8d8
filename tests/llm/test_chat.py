"""Asking behind an OpenAI-compatible endpoint, over real HTTP: what is sent, what is refused, and what goes through a purse."""

import sys
from decimal import Decimal
from pathlib import Path

import pytest

from kriptik.llm import chat
from kriptik.llm.purse import Prices, Purse
from kriptik.spec.errors import KriptikError
from kriptik.spec.llm import NoAnswerError

sys.path.insert(0, str(Path(__file__).parent))
from model_host import model_host

ASKED = [{"role": "user", "content": "Mark this."}]
NO_TEMPERATURE = {"status": 400, "body": b'{"error":{"message":"`temperature` is deprecated for this model."}}'}
PRICES = Prices(Decimal(5), Decimal(25))
ONE_CALL = (900 * Decimal(5) + 700 * Decimal(25)) / 1_000_000
"""What the host says that each of its answers used."""


@pytest.fixture
def host(monkeypatch):
    monkeypatch.setattr(chat, "WAIT_S", 0.0)
    with model_host() as running:
        yield running


def endpoint(host, key_env=None):
    return chat.Endpoint(f"{host.url}/v1", "m", key_env)


def test_the_key_of_its_variable_goes_along(host, monkeypatch):
    monkeypatch.setenv("JUDGE_KEY", " secret-key\n")
    host.replies = ["7"]
    assert chat.complete(endpoint(host, "JUDGE_KEY"), ASKED) == "7"
    path, headers, body = host.asked[0]
    assert path == "/v1/chat/completions" and body["messages"] == ASKED and body["temperature"] == 0
    assert {name.lower(): value for name, value in headers.items()}["authorization"] == "Bearer secret-key"


def test_a_key_that_cannot_be_sent_is_not_told(host, monkeypatch):
    monkeypatch.setenv("JUDGE_KEY", "secret\nkey")
    with pytest.raises(KriptikError) as refused:
        chat.complete(endpoint(host, "JUDGE_KEY"), ASKED)
    assert refused.value.code == "model_not_answering" and "secret" not in refused.value.sentence and host.asked == []


def test_a_model_that_takes_no_temperature_is_asked_without_from_then_on(host):
    """As Claude does from Opus 4.7 on."""
    host.replies = [NO_TEMPERATURE, "7", "8"]
    assert [chat.complete(endpoint(host), ASKED) for _ in range(2)] == ["7", "8"]
    assert ["temperature" in body for _path, _headers, body in host.asked] == [True, False, False]
    assert all("seed" in body for _path, _headers, body in host.asked)


def test_another_refusal_is_final(host):
    host.replies = [{"status": 400, "body": b'{"error":"no such model"}'}]
    with pytest.raises(KriptikError, match="status 400"):
        chat.complete(endpoint(host), ASKED)


def test_paid_calls_are_settled_and_what_was_turned_away_costs_nothing(host, tmp_path):
    purse = Purse(tmp_path / "paid.jsonl", Decimal(1))
    chat.charge(endpoint(host), PRICES, purse)
    host.replies = ["7", NO_TEMPERATURE, "8"]
    for _ in range(2):
        chat.complete(endpoint(host), ASKED)
    assert purse.settled() == purse.spent() == 2 * ONE_CALL
    host.replies = [{"status": 401}]
    with pytest.raises(KriptikError, match="status 401"):
        chat.complete(endpoint(host), ASKED)
    assert purse.spent() == 2 * ONE_CALL


def test_a_call_of_which_nobody_knows_what_it_used_costs_the_most(host, tmp_path):
    purse = Purse(tmp_path / "paid.jsonl", Decimal(1))
    chat.charge(endpoint(host), PRICES, purse)
    host.replies = [{"status": 500}, {"raw": b'{"choices":[{"message":{"content":"7"}}]}'}]
    assert chat.complete(endpoint(host), ASKED, max_tokens=100) == "7"
    most = (2000 * Decimal(5) + 100 * Decimal(25)) / 1_000_000
    assert 2 * most < purse.settled() < 3 * most


def test_nobody_is_asked_past_the_cap(host, tmp_path):
    chat.charge(endpoint(host), PRICES, Purse(tmp_path / "paid.jsonl", Decimal("0.001")))
    with pytest.raises(NoAnswerError, match="may cost up to"):
        chat.complete(endpoint(host), ASKED)
    assert host.asked == []


def test_two_purses_of_one_file_see_each_other(tmp_path):
    """Two processes of a run: what one has set aside, the other may not spend."""
    one, other = (Purse(tmp_path / "paid.jsonl", Decimal(1)) for _ in range(2))
    call = one.set_aside(Decimal("0.7"), "m")
    with pytest.raises(NoAnswerError):
        other.set_aside(Decimal("0.4"), "m")
    one.settle(call, Decimal("0.1"), chat.Usage(1, 1))
    assert other.set_aside(Decimal("0.4"), "m") and other.settled() == Decimal("0.1")
    assert one.spent() == other.spent() == Decimal("0.5")
