"""RunPod over the shared suite, against an account that is held to RunPod's own OpenAPI document; then its bad days."""

import shlex
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
import runpod_http
from provider_suite import QUIT_ON_TERM, ProviderSuite
from runpod_fake import KEY, FakeRunPod
from runpod_http import RunPodServer

from kriptik.providers import runpod, runpod_api
from kriptik.providers.provider import ResourceSpec
from kriptik.providers.runpod import RunPodProvider
from kriptik.providers.runpod_api import UnsureError
from kriptik.spec.errors import BadInputError, ConflictError, KriptikError

IMAGE = "suite/python:1"
RUN = "import os; exec(os.environ['PROGRAM'])"
DISK = Decimal("0.005556")


class Clock:
    """Seconds that pass only when told to."""

    def __init__(self):
        self.seconds = 1000.0

    def __call__(self):
        return self.seconds

    def utc(self):
        return datetime(2026, 6, 1, tzinfo=UTC) + timedelta(seconds=self.seconds)


@pytest.fixture
def account(tmp_path):
    return FakeRunPod(tmp_path / "pods", {IMAGE: ([sys.executable, "-S", "-c", RUN], {})})


@pytest.fixture
def server(account, monkeypatch):
    monkeypatch.setattr(runpod_api, "LOG_IDLE_S", 0.1)
    monkeypatch.setattr(runpod, "LISTING_S", 0.05)
    made = RunPodServer(account)
    yield made
    for pod in account.own():
        account.vanish(pod.id)
    made.close()
    made.check()


@pytest.fixture
def provider(server, account):
    made = RunPodProvider(KEY, IMAGE, base_url=server.url, pause=lambda _s: None, timeout_s=5)
    yield made
    account.keep_after_delete, made._api._quiet_until = 0, 0
    for resource in made.list_own("kt-"):
        made.terminate(resource.id)
    server.check()


@pytest.fixture
def spec_for(tmp_path):
    def make(name, program, env=None):
        env = {"PROGRAM": program, **(env or {})}
        return ResourceSpec(name=name, job_file=str(tmp_path / "job.json"), run_dir=str(tmp_path), env=env, gpu="RTX4090")

    return make


def test_the_official_document_is_used_where_it_is_at_hand(capsys):
    if not runpod_http.OFFICIAL:
        with capsys.disabled():
            print("\nRunPod's official OpenAPI document is not at hand: held to the excerpt written by hand.")
    assert "/v2/pods" in runpod_http.DOCUMENT["paths"]
    assert ("CreatePodRequest" in runpod_http.DOCUMENT["components"]["schemas"]) is runpod_http.OFFICIAL


def test_the_contract_refuses_what_v1_or_wishes_would_send(server):
    good = {"name": "kt-x", "image": IMAGE, "gpu": {"id": "NVIDIA L40S", "count": 1}}
    assert server.contract.request("POST", "/v2/pods", {}, good) == []
    for extra in ({"terminateAfter": "x"}, {"interruptible": True}, {"imageName": "x"}):
        assert server.contract.request("POST", "/v2/pods", {}, {**good, **extra})
    assert server.contract.request("GET", "/v2/catalog/gpus", {"include": "PRICES"}, None)
    assert server.contract.answer("GET", "/v2/pods", 200, "application/json", [])
    assert server.contract.checked["requests"] >= 5


class TestRunPod(ProviderSuite):
    tells_exit_codes = False
    keeps_traces = False

    def test_two_more_creates_adopt_the_pod(self, provider, spec_for, account):
        made = provider.create(spec_for("kt-a-1-g1", QUIT_ON_TERM))
        assert {provider.create(spec_for("kt-a-1-g1", QUIT_ON_TERM)).id for _ in range(2)} == {made.id}
        assert account.creates == 1


def steady(server, clock, **options):
    return RunPodProvider(KEY, IMAGE, base_url=server.url, clock=clock, pause=lambda _s: None, timeout_s=5, **options)


def limited(spec, dollars):
    return spec.model_copy(update={"max_price_per_hour": Decimal(dollars)})


def test_offers_are_live(provider, account):
    account.none_free |= {("NVIDIA L40S", "SECURE"), ("NVIDIA L40S", "COMMUNITY")}
    offers = {(o.gpu, o.gpu_count, o.detail.split()[-2]): o for o in provider.offers()}
    assert offers["RTX4090", 2, "secure"].price_per_hour == Decimal("1.38") + DISK
    assert offers["A100-80GB", 1, "community"].price_per_hour == Decimal("1.39") + DISK
    assert not offers["L40S", 1, "secure"].available and offers["RTX4090", 1, "secure"].available
    account.prices["NVIDIA GeForce RTX 4090"] = (Decimal("0.75"), Decimal("0.5"))
    assert provider.offers()[0].price_per_hour == Decimal("0.5") + DISK


def test_the_price_is_the_pods_with_its_disk(provider, spec_for):
    made = provider.create(spec_for("kt-a-1-g1", QUIT_ON_TERM))
    assert made.price_per_hour == Decimal("0.34") + DISK and "community" in made.detail


def test_secure_only(server, spec_for):
    provider = steady(server, Clock(), cloud="secure")
    made = provider.create(spec_for("kt-a-1-g1", QUIT_ON_TERM))
    assert made.price_per_hour == Decimal("0.69") + DISK
    provider.terminate(made.id)


def test_famine_takes_the_next_by_price_within_the_authorisation(provider, spec_for, account):
    gpu = "NVIDIA GeForce RTX 4090"
    account.none_free |= {(gpu, "COMMUNITY")}
    made = provider.create(limited(spec_for("kt-a-1-g1", QUIT_ON_TERM), "0.80"))
    assert made.price_per_hour == Decimal("0.69") + DISK, "the same GPU elsewhere"
    provider.terminate(made.id)
    account.none_free |= {(gpu, "SECURE")}
    made = provider.create(limited(spec_for("kt-a-1-g1", QUIT_ON_TERM), "0.80"))
    assert "L40S" in made.detail and made.price_per_hour == Decimal("0.79") + DISK, "another with at least its memory"
    provider.terminate(made.id)
    with pytest.raises(KriptikError) as found:
        provider.create(limited(spec_for("kt-a-1-g1", QUIT_ON_TERM), "0.75"))
    assert (found.value.code, found.value.status) == ("no_capacity", 503)
    assert account.own() == []


def test_a_create_refused_for_capacity_goes_on_to_the_next(provider, spec_for, account):
    account.refuse_creates = 1
    made = provider.create(spec_for("kt-a-1-g1", QUIT_ON_TERM))
    assert account.creates == 2 and made.price_per_hour == Decimal("0.69") + DISK


def test_dearer_than_authorised_is_refused_before_anything_is_made(provider, spec_for, account):
    with pytest.raises(ConflictError) as found:
        provider.create(limited(spec_for("kt-a-1-g1", QUIT_ON_TERM), "0.30"))
    assert found.value.code == "price_above_authorised" and account.creates == 0
    account.dearer_answer = Decimal(2)
    with pytest.raises(ConflictError, match="was authorised"):
        provider.create(limited(spec_for("kt-a-1-g1", QUIT_ON_TERM), "0.40"))
    assert account.creates == 1 and account.own() == [], "a pod that was dearer than said is ended at once"


def test_a_lost_answer_is_repaired_by_the_name(provider, server, spec_for, account):
    server.lose("create")
    made = provider.create(spec_for("kt-a-1-g1", QUIT_ON_TERM))
    assert account.creates == 1 and [pod.id for pod in account.own()] == [made.id]


def test_a_lost_answer_and_a_late_listing_never_make_two(server, account, spec_for):
    clock = Clock()
    account.clock, account.hide_s = clock.utc, 20
    provider = steady(server, clock)
    server.lose("create")
    for _ in range(3):
        with pytest.raises(UnsureError):
            provider.create(spec_for("kt-a-1-g1", QUIT_ON_TERM))
        clock.seconds += 6
    clock.seconds += 6
    made = provider.create(spec_for("kt-a-1-g1", QUIT_ON_TERM))
    assert account.creates == 1 and made.id == account.own()[0].id
    provider.terminate(made.id)


def test_a_late_listing_after_a_plain_create_never_makes_two(server, account, spec_for):
    clock = Clock()
    account.clock, account.hide_s = clock.utc, 60
    provider = steady(server, clock)
    made = provider.create(spec_for("kt-a-1-g1", QUIT_ON_TERM))
    assert provider.create(spec_for("kt-a-1-g1", QUIT_ON_TERM)).id == made.id and provider.get(made.id) is not None
    assert account.creates == 1
    provider.terminate(made.id)


def test_an_error_of_theirs_that_made_nothing_is_tried_again_when_it_is_sure(server, account, spec_for):
    clock = Clock()
    provider = steady(server, clock)
    server.fail("create", 503)
    with pytest.raises(UnsureError):
        provider.create(spec_for("kt-a-1-g1", QUIT_ON_TERM))
    clock.seconds += runpod.SETTLE_S + 1
    made = provider.create(spec_for("kt-a-1-g1", QUIT_ON_TERM))
    assert account.creates == 1
    provider.terminate(made.id)


def test_of_doubles_of_a_name_the_oldest_is_taken_and_the_others_are_shown_to_whoever_pays(provider, account, spec_for):
    first = provider.create(spec_for("kt-a-1-g1", QUIT_ON_TERM))
    account.create({**account.pods[first.id].request})
    assert provider.create(spec_for("kt-a-1-g1", QUIT_ON_TERM)).id == first.id
    assert {found.id for found in provider.list_own("kt-a-1-g1")} == {pod.id for pod in account.own()}
    assert len(account.own()) == 2
    for found in provider.list_own("kt-a-1-g1"):
        provider.terminate(found.id)


def test_an_adopted_pod_that_is_dearer_than_authorised_is_ended_too(provider, account, spec_for):
    first = provider.create(spec_for("kt-a-1-g1", QUIT_ON_TERM))
    dear = spec_for("kt-a-1-g1", QUIT_ON_TERM).model_copy(update={"max_price_per_hour": Decimal("0.01")})
    with pytest.raises(KriptikError) as found:
        provider.create(dear)
    assert found.value.code == "price_above_authorised" and first.id not in account.pods


@pytest.mark.parametrize(
    ("status", "code", "ours"),
    [(401, "provider_key_refused", 401), (402, "provider_balance", 402), (403, "no_capacity", 503), (409, "provider_conflict", 503),
     (422, "provider_refused", 422), (429, "provider_throttled", 503), (500, "provider_unsure", 503)],
)  # fmt: skip
def test_errors_of_a_create(provider, server, spec_for, status, code, ours):
    server.fail("create", status, count=9)
    with pytest.raises(KriptikError) as found:
        provider.create(spec_for("kt-a-1-g1", QUIT_ON_TERM))
    assert (found.value.code, found.value.status) == (code, ours)
    assert KEY not in found.value.sentence


def test_no_balance_and_a_key_that_expired(provider, account, spec_for):
    account.balance = False
    with pytest.raises(KriptikError, match="no balance"):
        provider.create(spec_for("kt-a-1-g1", QUIT_ON_TERM))
    account.keys.clear()
    with pytest.raises(KriptikError) as found:
        provider.list_own("kt-")
    assert found.value.code == "provider_key_refused"
    account.keys.add(KEY)


def test_after_a_429_it_keeps_quiet_but_ends_go_through(server, account, spec_for):
    clock = Clock()
    provider = steady(server, clock)
    made = provider.create(spec_for("kt-a-1-g1", QUIT_ON_TERM))
    clock.seconds += 10
    server.fail("list", 429, retry_after=20)
    before = server.calls["list"]
    for _ in range(5):
        with pytest.raises(KriptikError, match="fewer"):
            provider.get(made.id)
    assert server.calls["list"] == before + 1
    with pytest.raises(KriptikError, match="fewer"):
        provider.terminate(made.id)
    assert account.own() == [], "the delete went out; that it is gone is seen later"
    clock.seconds += 21
    assert provider.get(made.id) is None


def test_one_listing_serves_many_looks(server, account, spec_for):
    provider = steady(server, Clock())
    made = provider.create(spec_for("kt-a-1-g1", QUIT_ON_TERM))
    provider.get(made.id)
    before = sum(server.calls.values())
    for _ in range(50):
        provider.get(made.id)
    assert sum(server.calls.values()) == before
    provider.terminate(made.id)


def test_terminate_is_confirmed_or_raised(provider, account, spec_for):
    made = provider.create(spec_for("kt-a-1-g1", QUIT_ON_TERM))
    account.keep_after_delete = 1
    with pytest.raises(KriptikError) as found:
        provider.terminate(made.id)
    assert (found.value.code, found.value.status) == ("terminate_unconfirmed", 503)
    provider.terminate(made.id)
    assert provider.get(made.id) is None


def test_a_lost_answer_to_a_terminate(provider, server, account, spec_for):
    made = provider.create(spec_for("kt-a-1-g1", QUIT_ON_TERM))
    server.lose("delete")
    with pytest.raises(KriptikError):
        provider.terminate(made.id)
    provider.terminate(made.id)
    assert account.own() == []


def test_a_pod_deleted_in_the_console_is_gone(provider, account, spec_for):
    made = provider.create(spec_for("kt-a-1-g1", QUIT_ON_TERM))
    account.vanish(made.id)
    assert ProviderSuite().until(lambda: provider.get(made.id) is None)


def test_foreign_pods_are_never_seen(provider, account):
    assert provider.list_own("kt-") == []
    assert all(account.foreign.name != r.name for r in provider.list_own("kt-"))


def test_the_bill_is_the_providers(server, account, spec_for):
    clock = Clock()
    account.clock, account.overcharge = clock.utc, Decimal("1.5")
    provider = steady(server, clock)
    made = provider.create(spec_for("kt-a-1-g1", QUIT_ON_TERM))
    clock.seconds += 3600
    provider.terminate(made.id)
    billed = provider.billed(made.id, made.created_at)
    assert billed is not None and abs(billed - (Decimal("0.51") + DISK)) < Decimal("0.000001")


def test_the_cpu_and_unknown_gpus_are_refused(provider, spec_for):
    for gpu in ("cpu", "T4", "GeForce 256"):
        with pytest.raises(BadInputError, match="has no"):
            provider.create(spec_for("kt-a-1-g1", "").model_copy(update={"gpu": gpu}))


def test_the_key_is_in_no_words_of_ours(server, account, spec_for, caplog):
    provider = steady(server, Clock())
    server.fail("list", 500)
    with pytest.raises(KriptikError) as found:
        provider.list_own("kt-")
    assert KEY not in repr(found.value) + repr(vars(provider)["_api"]) + caplog.text + str(provider.self_end)


def test_a_plain_image_is_told_what_to_run(server, account, spec_for):
    """The contract allows the body; what it says runs as a shell would take it apart."""
    plain = RunPodProvider(KEY, IMAGE, base_url=server.url, bootstrap="import os; print('worker of', os.environ['PROGRAM'])")
    made = plain.create(spec_for("kt-a-1-g1", "print(1)"))
    request = account.pods[made.id].request
    command = [sys.executable, *shlex.split(request["args"])[1:]]
    done = subprocess.run(command, env=request["env"], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == "worker of print(1)\n"
    plain.terminate(made.id)
