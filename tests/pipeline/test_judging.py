"""Who judges a plan's answers: which addresses, keys and prices are taken, what the run is told, what asking is to cost."""

from decimal import Decimal

import pytest
from planning_help import CLOUD, NOW, intent, laptop, plan_of, statuses

from kriptik.catalogue.advice import load_advice
from kriptik.pipeline import job
from kriptik.pipeline.edit import edit_tile, edit_words
from kriptik.pipeline.edits.judging import judge_of
from kriptik.pipeline.edits.reading import read_edit
from kriptik.pipeline.endpoint import checked_url, is_near
from kriptik.spec.errors import BadInputError
from kriptik.spec.plan import PlanModification

HERE = "http://127.0.0.1:8000/v1"
OUTSIDE = "https://judges.example.com/v1"
CLAUDE = "claude-opus-4-8"
PRICED = {"model": "m", "url": OUTSIDE, "inputUsdPerMillion": 0.5, "outputUsdPerMillion": 1.5}


def planned(method="rlaif", **options):
    wish = intent("chat", methods=[method], base_model="HuggingFaceTB/SmolLM2-135M-Instruct", quality_tier="consumer")
    return plan_of(wish, laptop("0", statuses=statuses("lora", "rlaif", "constitutional_ai", "grpo")), **options)


def told(plan, case, value):
    return edit_tile(plan, case, "method", PlanModification(type="custom_value", value=value), now=NOW)


def refusal(value, method="rlaif"):
    with pytest.raises(BadInputError) as refused:
        told(*planned(method), value)
    return refused.value


@pytest.mark.parametrize(
    ("url", "kept", "near"),
    [
        ("http://127.0.0.1:8000/v1/", HERE, True),
        ("http://127.0.0.1:8000/v1/chat/completions", HERE, True),
        ("http://localhost:11434/v1", "http://localhost:11434/v1", True),
        ("http://[::1]:8000/v1", "http://[::1]:8000/v1", True),
        ("http://10.1.2.3/v1", "http://10.1.2.3/v1", True),
        ("http://100.64.0.7:8000/v1", "http://100.64.0.7:8000/v1", True),
        ("http://[fd00::7]/v1", "http://[fd00::7]/v1", True),
        ("http://gpu-box:8000", "http://gpu-box:8000", True),
        ("http://judge.lan/v1", "http://judge.lan/v1", True),
        ("HTTPS://Judges.Example.com/v1", "HTTPS://Judges.Example.com/v1", False),
        ("https://8.8.8.8/v1", "https://8.8.8.8/v1", False),
    ],
)
def test_plain_addresses_are_kept(url, kept, near):
    assert (checked_url(url), is_near(url)) == (kept, near)


@pytest.mark.parametrize(
    "url",
    [
        "", "ftp://127.0.0.1/v1", "file:///etc/passwd", "gopher://127.0.0.1:6379/_x", "127.0.0.1:8000/v1", "http://", "http:///v1",
        "http://judges.example.com/v1", "http://8.8.8.8/v1",  # a key in the clear
        "https://me:secret@judges.example.com/v1", "https://judges.example.com@169.254.169.254/",
        "http://127.0.0.1\\@example.com/", "https://judges.example.com/v1?key=secret", "https://judges.example.com/v1#x",
        "http://127.0.0.1:0/v1", "http://127.0.0.1:99999/",
        "http://169.254.169.254/latest/meta-data", "http://[::ffff:169.254.169.254]/", "http://[fe80::1]/", "http://0.0.0.0:8000/",
        "http://224.0.0.1/", "http://[::]/", "http://[::1/", "http://metadata.google.internal/v1",
        "http://metadata.google.internal./v1", "http://2130706433/v1", "http://127.1/v1", "http://0x7f.1/v1", "http://0x7f000001/v1",
        "http://a..b.lan/",
        "http://127.0.0.1:8000/v1\nHost: x", "http://127.0.0.1:8000/a b", "http://ju\u0501ge.lan/v1", "http://" + "a" * 400,
    ],
)  # fmt: skip
def test_hostile_addresses_are_refused_and_not_repeated(url):
    with pytest.raises(BadInputError) as refused:
        checked_url(url)
    assert refused.value.code == "bad_judge_url" and refused.value.next_step
    assert "secret" not in refused.value.sentence
    assert refusal({"judge": {"model": "m", "url": url or " "}}).code == "bad_judge_url"


def test_the_run_is_told_of_judge_and_principles_in_every_stage_that_has_use_for_them():
    plan, case = planned("constitutional_ai")
    lines = "Never name prices.\n\nharmlessness\nhonest"
    edit = told(plan, case, {"judge": {"model": "qwen3-32b", "url": HERE}, "principles": lines})
    stages = job.plan_stages(edit.plan)
    assert [stage.settings.objective["rows"] for stage in stages] == ["revisions", "judged_pairs"]
    for stage in stages:
        judge = stage.settings.objective["judge"]
        assert (judge["kind"], judge["url"], judge["model"], judge["key_env"]) == ("endpoint", HERE, "qwen3-32b", None)
        lines = stage.settings.objective["principles"]
        assert [one if isinstance(one, str) else one["id"] for one in lines] == ["Never name prices.", "harmless", "fair", "honest"]
    assert [(one.param, one.after, one.tile) for one in edit.changes if one.asked] == [
        ("judge", f"qwen3-32b at {HERE}", "method"), ("principles", ["Never name prices.", "harmlessness", "honest"], "method"),
    ]  # fmt: skip
    (tile,) = (one for one in edit.plan.tiles if one.category == "method")
    assert f"qwen3-32b at {HERE}" in tile.description and "Never name prices" in tile.description and tile.status == "modified"
    assert any("qwen3-32b is asked about" in step for step in edit.plan.detailed_steps)
    back = told(edit.plan, case, {"judge": "own", "principles": []})
    assert all("judge" not in stage.settings.objective for stage in job.plan_stages(back.plan))


def test_without_a_word_the_model_judges_itself_and_the_tile_says_so():
    plan, _case = planned()
    (stage,) = job.plan_stages(plan)
    assert stage.settings.objective["reward"] == "judge" and "judge" not in stage.settings.objective
    (tile,) = (one for one in plan.tiles if one.category == "method")
    assert "The judge is the model itself" in tile.description and tile.facts["takes"] == ["judge", "principles", "rollouts"]
    assert plan.estimate.judge_usd is None


@pytest.mark.parametrize(("value", "code"), [
    ({"judge": {"model": "m", "url": HERE}}, "no_judge"), ({"principles": ["Be kind."]}, "no_principles"),
    ({"rollouts": "vllm"}, "no_rollouts"),
])  # fmt: skip
def test_a_method_without_a_judge_is_told_of_none(value, code):
    error = refusal(value, "lora")
    assert error.code == code and "rlaif" in error.next_step


def test_what_another_method_has_no_use_for_waits_until_it_is_asked_again():
    plan, case = planned()
    plan = told(plan, case, {"judge": {"model": "m", "url": HERE}}).plan
    lora = edit_words(plan, case, "use lora", now=NOW).plan
    assert lora.choices.method == "lora" and "judge" not in job.plan_stages(lora)[0].settings.objective
    again = edit_words(lora, case, "use rlaif", now=NOW).plan
    assert job.plan_stages(again)[0].settings.objective["judge"]["model"] == "m"
    assert all(option.choices.judge == plan.choices.judge for option in plan.options)


@pytest.mark.parametrize("value", [
    {"model": "m"}, {"model": "a b", "url": HERE}, {"url": HERE}, {"model": "m", "url": HERE, "maxTokens": 0}, 7, ["m"],
    "at http://x", "",     {"model": "m", "url": HERE, "inputUsdPerMillion": -1, "outputUsdPerMillion": 1},
    {"model": "m", "url": HERE, "apiKey": "sk-secret"},
])  # fmt: skip
def test_what_is_no_judge_is_said_so(value):
    assert refusal({"judge": value}).code in ("bad_judge", "unknown_judge")


@pytest.mark.parametrize(
    ("url", "name", "taken"),
    [
        (HERE, "JUDGE_KEY", True),
        (OUTSIDE, "JUDGE_KEY", True),
        (OUTSIDE, "ANTHROPIC_API_KEY", False),
        (OUTSIDE, "HF_TOKEN", False),
        (HERE, "KRIPTIK_WORKER_TOKEN", False),
        ("https://api.anthropic.com/v1", "ANTHROPIC_API_KEY", True),
        ("https://api.anthropic.com.example.com/v1", "ANTHROPIC_API_KEY", False),
        (OUTSIDE, "sk-ant-secret", False),
        (OUTSIDE, "JUDGE_KEY; rm", False),
    ],
)
def test_a_key_goes_only_where_it_is_meant_to_and_is_never_repeated(url, name, taken):
    """Who makes a plan names a variable of the server's: its other keys must not be sent to an address of theirs."""
    value = {"model": "m", "url": url, "keyEnv": name, "inputUsdPerMillion": 1, "outputUsdPerMillion": 1}
    if taken:
        assert judge_of(value).key_env == name
        return
    error = refusal({"judge": value})
    assert error.code == "bad_judge_key" and name not in error.sentence and "secret" not in str(error.problem())


def test_claude_is_known_by_its_name_with_address_key_and_price():
    judge, listed = judge_of(CLAUDE), load_advice().token_prices[CLAUDE]
    assert (judge.url, judge.key_env) == ("https://api.anthropic.com/v1", "ANTHROPIC_API_KEY") and judge.max_tokens > 1000
    assert (judge.input_usd_per_million, judge.output_usd_per_million) == (listed.input_usd, listed.output_usd)
    cheap = judge_of({"model": CLAUDE, "inputUsdPerMillion": 0, "outputUsdPerMillion": 0})
    assert cheap.input_usd_per_million == listed.input_usd, "what the catalogue knows is not talked down"
    newer = judge_of({"model": "claude-of-tomorrow", "url": judge.url})
    assert newer.output_usd_per_million == max(one.output_usd for one in load_advice().token_prices.values())


def test_a_price_is_known_or_the_judge_is_refused():
    assert not judge_of({"model": "m", "url": HERE}).paid
    assert judge_of(PRICED).output_usd_per_million == Decimal("1.5")
    for value in ({"model": "m", "url": OUTSIDE}, {**PRICED, "outputUsdPerMillion": None}, {"model": CLAUDE, "url": OUTSIDE}):
        error = refusal({"judge": value})
        assert error.code == "judge_price_unknown" and "a million tokens" in error.next_step


def test_a_paid_judge_is_in_the_estimate_and_grows_with_what_is_asked():
    plan, case = planned()
    free = told(plan, case, {"judge": {"model": "m", "url": HERE}}).plan
    assert free.estimate.judge_usd is None and free.estimate.cost_usd == plan.estimate.cost_usd
    edit = told(plan, case, {"judge": PRICED})
    paid, asked = edit.plan.estimate, edit.plan.estimate.judge_usd
    assert 0 < asked.min < asked.likely < asked.max
    assert paid.cost_usd.likely == asked.likely and paid.cost_usd.max == asked.max, "this machine costs nothing"
    assert {one.param for one in edit.changes if one.tile == "budget"} == {"cost"}
    twice = edit_words(edit.plan, case, "use 2 epochs", now=NOW).plan.estimate.judge_usd
    assert 1.7 < float(twice.likely / asked.likely) < 2.3
    assert any(option.cost_usd.likely >= asked.min for option in edit.plan.options if option.key == "recommended")


def test_a_rented_machine_does_not_reach_a_judge_at_home():
    wish = intent("chat", methods=["rlaif"], base_model="HuggingFaceTB/SmolLM2-135M-Instruct", provider="runpod")
    plan, case = plan_of(wish, CLOUD)
    assert plan.choices.provider == "runpod"
    near = told(plan, case, {"judge": {"model": "m", "url": HERE}}).plan
    assert not near.approvable and "does not reach" in near.why_not_approvable
    assert told(plan, case, {"judge": PRICED}).plan.approvable


def test_rollouts_by_vllm_are_told_and_refused_where_it_could_not_show_the_weights():
    plan, case = planned("grpo")
    assert plan.choices.rollouts == "transformers"
    edit = told(plan, case, {"rollouts": "vllm"})
    (stage,) = job.plan_stages(edit.plan)
    assert stage.settings.objective["rollouts"] == "vllm"
    assert refusal({"rollouts": "sglang"}, "grpo").code == "unknown_rollouts"
    full, case = planned("full_finetune+grpo")
    with pytest.raises(BadInputError) as refused:
        told(full, case, {"rollouts": "vllm"})
    assert refused.value.code == "unfit_for_vllm"


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        ("use Qwen/Qwen3-32B at http://10.0.0.5:8000/v1 as judge", {"judge": ("Qwen/Qwen3-32B", "http://10.0.0.5:8000/v1", None)}),
        (f"use {CLAUDE} as the judge", {"judge": (CLAUDE, "https://api.anthropic.com/v1", "ANTHROPIC_API_KEY")}),
        (
            "let Judge-1 at https://judges.example.com/v1 with the key in JUDGE_KEY for $0.5/$1.5 a million tokens be the judge",
            {"judge": ("Judge-1", OUTSIDE, "JUDGE_KEY")},
        ),
        (f"use m as judge at {HERE}, and use vllm for rollouts", {"judge": ("m", HERE, None), "rollouts": "vllm"}),
        ("let the model judge itself", {"judge": None}),
        ("sample answers with vLLM", {"rollouts": "vllm"}),
        ("principles: Never name prices; be kind", {"principles": ["Never name prices", "be kind"]}),
    ],
)
def test_plain_words_choose_the_judge(words, asked):
    plan, case = planned()
    start = told(plan, case, {"judge": {"model": "old", "url": HERE}}).plan
    after = edit_words(start, case, words, now=NOW).plan.choices
    for name, wanted in asked.items():
        found = getattr(after, name)
        if name == "judge" and found is not None:
            found = (found.model, found.url, found.key_env)
        assert found == wanted
    assert (after.base_model, after.method, after.budget_max_usd) == (
        start.choices.base_model, start.choices.method, start.choices.budget_max_usd,
    )  # fmt: skip


@pytest.mark.parametrize(
    "words", ["use lora as judge of quality", "who judges?", "serve it with vllm", "a judge would like a smaller model"]
)
def test_other_words_choose_none(words):
    assert not {ask.axis for ask in read_edit(words)} & {"judge", "principles", "rollouts"}


def test_a_hostile_address_in_words_is_refused():
    plan, case = planned()
    with pytest.raises(BadInputError) as refused:
        edit_words(plan, case, "use m at file:///etc/passwd as judge", now=NOW)
    assert refused.value.code == "bad_judge_url"
