"""From a sentence to a rented machine and back: the plan's live price, its approval, a price that rose meanwhile, no key."""

from decimal import Decimal
from types import SimpleNamespace

import pytest
from cloud import Cloud, expected
from counter_pod import STEPS
from harness import ProcessProvider, Server, until
from runpod_fake import KEY
from test_server_plans import approve, ask, lora_trains, upload

from kriptik.server import approval, quotes, wiring
from kriptik.server.settings import Settings

__all__ = ["lora_trains"]
WORDS = "Fine-tune SmolLM2 135M with LoRA for our customer support on RunPod with an RTX 4090, budget $1"


@pytest.fixture
def cloud(tmp_path, monkeypatch):
    monkeypatch.setattr(quotes, "FRESH_S", 0)
    made = Cloud(tmp_path, monkeypatch)
    yield made
    made.close()


@pytest.mark.chaos
def test_a_sentence_becomes_a_run_on_a_pod_at_its_live_price(cloud):
    cloud.account.prices["NVIDIA GeForce RTX 4090"] = (Decimal("0.69"), Decimal("0.34"))
    plan = ask(cloud.server, WORDS, upload(cloud.server))["plan"]
    assert plan["choices"]["provider"] == "runpod" and plan["approvable"], plan["whyNotApprovable"]
    assert plan["estimate"]["pricePerHour"] == pytest.approx(0.34 + 0.005556)
    job = approve(cloud.server, plan)["jobId"]
    done = cloud.server.wait(job, "completed", limit_s=40)
    assert cloud.result(job) == expected(STEPS) and cloud.account.own() == []
    until(lambda: abs(cloud.server.job(job)["currentSpend"] - float(cloud.account.bill())) < 1e-6, 5)
    assert done["stageSpecs"][0]["method"] == "lora"
    (pod,) = cloud.account.ended.values()
    assert KEY not in str(pod.request) + (cloud.server.core.run_dir(job) / "jobs" / "g1.json").read_text()


@pytest.mark.chaos
def test_a_price_that_rose_between_plan_and_start_is_refused(cloud):
    plan = ask(cloud.server, WORDS, upload(cloud.server))["plan"]
    cloud.account.prices["NVIDIA GeForce RTX 4090"] = (Decimal(40), Decimal(40))
    job = approve(cloud.server, plan)["jobId"]
    failed = until(lambda: (j := cloud.server.job(job))["state"] == "failed" and j)
    assert failed["failure"]["code"] == "price_above_authorised" and cloud.account.creates == 0


def test_without_a_key_the_plan_says_why_not(tmp_path, monkeypatch):
    monkeypatch.setattr(approval, "status_of", lambda *_: SimpleNamespace(status="trainable"))
    provider = ProcessProvider()
    server = Server(tmp_path / "home", provider)
    try:
        plan = ask(server, WORDS, upload(server))["plan"]
        assert not plan["approvable"] and "runpod is not set up here" in plan["whyNotApprovable"]
        problem = approve(server, plan, 409)
        assert problem["code"] == "provider_not_available" and "KRIPTIK_RUNPOD_API_KEY" in problem["nextStep"]
    finally:
        server.stop()
        provider.close()


def test_it_is_set_up_by_three_settings_and_the_key_shows_nowhere(tmp_path):
    some = Settings.from_env(home=tmp_path, runpod_api_key=KEY)
    assert wiring.missing_for_runpod(some) == ["KRIPTIK_RUNPOD_IMAGE", "KRIPTIK_WORKER_URL"]
    assert set(wiring.make_providers(some)) == {"local"}
    whole = some.model_copy(update={"runpod_image": "x/y:1", "public_url": "https://here.example/"})
    assert set(wiring.make_providers(whole)) == {"local", "runpod"} and whole.outside_url == "https://here.example"
    assert KEY not in repr(whole) + str(whole.document())
