"""From a sentence to a run over HTTP: plans, edits, approval, and everything that is refused before money is spent."""

import io
import json
from datetime import timedelta

import pytest
from data_hub import data_hub
from harness import add_run

from kriptik.server import approval, planning
from kriptik.server.scores import with_reward_model
from kriptik.spec.catalogue import MethodStatus, Point
from kriptik.spec.errors import ConflictError
from kriptik.spec.job import Stage
from kriptik.store.tables import Job

DEMO = "Quick fine-tune SmolLM2 for our customer support, budget $1"


@pytest.fixture(autouse=True)
def lora_trains(monkeypatch):
    """Whether LoRA is proved on this checkout is the conformance suite's business; these tests need one method that is."""
    real = planning.method_statuses

    def statuses():
        proved = ["text_generation", "chat", "custom", "code_generation"]
        return [
            MethodStatus(id=s.id, stages=s.stages, status="trainable", capabilities=proved) if s.id == "lora" else planned(s)
            for s in real()
        ]

    def planned(s):
        return s.model_copy(update={"status": "planned", "reason": "No conformance proof yet."})

    monkeypatch.setattr(planning, "method_statuses", statuses)


def upload(server, rows=120, kind="messages"):
    lines = []
    for i in range(rows):
        question, answer = (
            f"How do I fix pipe number {i}, model {i * 7}?",
            f"Turn valve {i * 13} left, wait {i} minutes, call line {i * 3}.",
        )
        turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        pair = {"prompt": question, "chosen": answer, "rejected": f"No idea about pipe {i}."}
        lines.append(json.dumps({"messages": turns} if kind == "messages" else pair))
    files = {"file": ("faq.jsonl", io.BytesIO("\n".join(lines).encode()))}
    return server.api("POST", "/data", 201, files=files)


def ask(server, prompt=DEMO, dataset=None, status=200):
    context = {"existingData": dataset["id"]} if dataset else {}
    return server.api("POST", "/parse-intent", status, json={"prompt": prompt, "context": context})


def approve(server, plan, status=200, **authorization):
    body = {"budgetAuthorization": {"maxBudget": 1, "termsAccepted": True, **authorization}}
    return server.api("POST", f"/plans/{plan['id']}/approve", status, json=body)


def end(server, job_id):
    server.api("POST", f"/jobs/{job_id}/stop")
    server.wait(job_id, "stopped", "completed")


def test_one_sentence_becomes_a_run(server):
    dataset = upload(server)
    made = ask(server, dataset=dataset)
    plan, contract = made["plan"], made["contract"]
    assert plan["choices"]["baseModel"] == "HuggingFaceTB/SmolLM2-135M-Instruct" and plan["choices"]["method"] == "lora"
    assert plan["approvable"] and [t["category"] for t in plan["tiles"]] == ["model", "method", "data", "gpu", "config", "budget"]
    assert plan["contractId"] == contract["id"] and contract["selectedBaseModel"] == plan["choices"]["baseModel"]
    approved = approve(server, plan)
    job = server.job(approved["jobId"])
    assert job["baseModel"] == plan["choices"]["baseModel"] and job["method"] == "lora"
    (stage,) = job["stageSpecs"]
    assert stage["point"]["adaptation"] == "lora" and stage["point"]["objective"] == "causal_lm"
    locked = server.api("GET", f"/plans/{plan['id']}")
    assert locked["contract"]["locked"] and locked["contract"]["hash"] and locked["plan"]["status"] == "approved"
    assert approve(server, plan, 409)["code"] == "already_approved"
    end(server, job["id"])


def test_prepared_rows_are_split_and_three_held_out_prompts_go_along(server):
    dataset = upload(server)
    plan = ask(server, dataset=dataset)["plan"]
    core = server.core
    noun = planning.TrainingImplementationPlan.model_validate(plan)
    ref, samples = planning.prepare_rows(core, core.owner_id, noun, core.data_dir / "prepared" / "here")
    assert ref.train_rows + ref.eval_rows == 120 and ref.eval_rows > 0 and ref.overlap_rows == 0
    assert ref.source == "faq.jsonl" and len(samples) == 3 and all(s.expected for s in samples)
    held_out = (core.data_dir / "prepared" / "here" / "eval.jsonl").read_text()
    train = (core.data_dir / "prepared" / "here" / "train.jsonl").read_text()
    for sample in samples:
        question = sample.messages[-1]["content"]
        assert question in held_out and question not in train


def test_without_rows_approval_asks_for_them(server):
    plan = ask(server)["plan"]
    assert plan["approvable"], "what is missing is asked for at approval, where it can be attached"
    refused = approve(server, plan, 422)
    assert refused["code"] == "data_missing" and "data tile" in str(refused)
    assert server.api("GET", "/jobs")["jobs"] == []


def test_pairs_go_to_a_method_that_trains(server):
    pairs = ask(server, dataset=upload(server, kind="preferences"))["plan"]
    assert pairs["approvable"] and pairs["choices"]["method"] == "lora", "the only one that trains here"


def test_planned_methods_are_refused(server):
    llama = ask(server, "Quick fine-tune Llama for customer support")["plan"]
    assert llama["choices"]["method"] == "qlora" and llama["choices"]["gpuCount"] == 1 and not llama["approvable"]
    assert approve(server, llama, 409)["code"] in ("method_not_available", "provider_not_available"), "by what is proved"
    music = ask(server, "Train a model to generate Suno-quality music")["plan"]
    assert music["choices"]["capability"] == "music_generation" and len(music["pipeline"]["stages"]) == 4
    assert approve(server, music, 409)["code"] == "method_not_available"
    assert server.api("GET", "/jobs")["jobs"] == []


def test_texts_that_ask_for_nothing(server):
    for prompt in ("what's the weather?", "cancel my subscription"):
        refused = ask(server, prompt, status=422)
        assert refused["code"] == "not_a_training_request" and str(refused)
    vague = ask(server, "train something for me", status=422)
    assert vague["code"] == "needs_clarification" and vague["nextStep"].endswith("?")
    assert server.api("GET", "/plans")["plans"] == []


def test_a_doubt_is_planned_as_the_best_guess_and_an_answer_replans(server):
    made = ask(server, "Train a model that composes or classifies my songs")
    question = made["plan"]["pendingDecisions"][0]
    assert question["field"] == "capability" and len(made["plan"]["pendingDecisions"]) <= 2
    other = next(answer for answer in question["choices"] if answer != question["default"])
    answered = server.api("POST", f"/plans/{made['plan']['id']}/modify-with-ai", json={"nlpModification": other})["plan"]
    kept = server.api("GET", f"/plans/{made['plan']['id']}")
    assert answered["choices"]["capability"] != made["plan"]["choices"]["capability"]
    assert kept["contract"]["targetCapability"] == kept["contract"]["intent"]["capability"] == answered["choices"]["capability"]
    assert all(decision["field"] != "capability" for decision in answered["pendingDecisions"])


def test_edits_make_new_versions_of_the_contract(server):
    made = ask(server, dataset=upload(server))
    plan_id = made["plan"]["id"]
    edit = server.api("POST", f"/plans/{plan_id}/modify-with-ai", json={"nlpModification": "use 2 epochs and rank 8"})
    asked = {change["param"]: change["after"] for change in edit["changes"] if change["asked"]}
    assert asked == {"epochs": 2.0, "rank": 8}
    tile = {"modification": {"type": "custom_value", "value": {"learningRate": 5e-4}}}
    second = server.api("PUT", f"/plans/{plan_id}/tiles/config", json=tile)
    assert second["affectedTiles"] == ["config"]
    now = server.api("GET", f"/plans/{plan_id}")
    assert now["contract"]["version"] == 3 and now["contract"]["parentId"] != made["contract"]["id"]
    assert now["plan"]["choices"]["settings"]["epochs"] == 2.0 and now["plan"]["status"] == "modified"
    assert len(now["plan"]["userModifications"]) == 2
    run = server.job(approve(server, now["plan"])["jobId"])
    settings = run["stageSpecs"][0]["settings"]
    assert (settings["epochs"], settings["lora"]["rank"], settings["learningRate"]) == (2.0, 8, 5e-4)
    end(server, run["id"])


def test_edits_that_cannot_be_done_change_nothing(server):
    plan = ask(server, dataset=upload(server))["plan"]
    path = f"/plans/{plan['id']}"
    refused = server.api("POST", f"{path}/modify-with-ai", 422, json={"nlpModification": "approve it and make it pop"})
    assert refused["code"] == "edit_not_understood"
    bad = {"modification": {"type": "select_alternative", "value": "nonsense"}}
    assert server.api("PUT", f"{path}/tiles/model", 422, json=bad)["code"] == "unknown_alternative"
    assert server.api("PUT", f"{path}/tiles/wings", 404, json=bad)["code"] == "unknown_tile"
    assert server.api("GET", path)["plan"] == plan


def test_the_wizard_plans_selections_and_refuses_unknown_names(server):
    dataset = upload(server)
    body = {
        "capability": "text_generation",
        "baseModel": "SmolLM2",
        "method": "lora",
        "datasetId": dataset["id"],
        "gpu": "cpu",
        "budgetMaxUsd": 2,
    }
    made = server.api("POST", "/plans", json=body)
    choices = made["plan"]["choices"]
    assert (choices["baseModel"], choices["gpu"], choices["budgetMaxUsd"]) == ("HuggingFaceTB/SmolLM2-135M-Instruct", "cpu", 2.0)
    assert made["plan"]["approvable"] and made["plan"]["prompt"]
    for field, value in (
        ("capability", "flying"),
        ("baseModel", "acme/none"),
        ("method", "magic"),
        ("gpu", "abacus"),
        ("provider", "moon"),
    ):
        assert server.api("POST", "/plans", 422, json={**body, field: value})["code"].startswith("unknown_")
    assert server.api("POST", "/plans", 404, json={**body, "datasetId": "0" * 26})["code"] == "dataset_not_found"


def test_the_operators_price_is_the_plans_price(server):
    plan = ask(server, dataset=upload(server))["plan"]
    assert plan["estimate"]["pricePerHour"] == 0 and plan["estimate"]["costUsd"]["max"] == 0


def test_rows_attached_to_the_data_tile_refit_the_plan(server):
    plan = ask(server)["plan"]
    dataset = upload(server, rows=120)
    body = {"modification": {"type": "custom_value", "value": dataset["id"]}}
    edit = server.api("PUT", f"/plans/{plan['id']}/tiles/data", json=body)
    data = next(tile for tile in edit["plan"]["tiles"] if tile["category"] == "data")
    assert edit["plan"]["choices"]["datasetId"] == dataset["id"] and data["facts"]["have"] == 120
    assert edit["plan"]["estimate"]["tokens"] < plan["estimate"]["tokens"] and "data" in edit["affectedTiles"]
    unknown = {"modification": {"type": "custom_value", "value": "0" * 26}}
    assert server.api("PUT", f"/plans/{plan['id']}/tiles/data", 404, json=unknown)["code"] == "dataset_not_found"
    run = approve(server, edit["plan"])["jobId"]
    end(server, run)


def test_scores_come_from_the_newest_reward_model_on_the_same_base(server, monkeypatch):
    statuses = planning.method_statuses
    proved = ["text_generation"]
    monkeypatch.setattr(
        planning,
        "method_statuses",
        lambda: [
            s.model_copy(update={"status": "trainable", "capabilities": proved}) if s.id == "rlhf_ppo" else s for s in statuses()
        ],
    )
    monkeypatch.setattr(approval, "status_of", lambda *_: next(s for s in planning.method_statuses() if s.id == "rlhf_ppo"))
    body = {
        "capability": "text_generation",
        "baseModel": "SmolLM2",
        "method": "rlhf_ppo",
        "gpu": "cpu",
        "datasetId": upload(server)["id"],
    }
    plan = server.api("POST", "/plans", json=body)["plan"]
    refused = approve(server, plan, 409)
    assert (
        refused["code"] == "reward_model_missing"
        and "SmolLM2" in str(refused)
        and "method reward_model" in str(refused)
    )
    assert server.api("GET", "/jobs")["jobs"] == [], "nothing was made"
    base, kept = plan["choices"]["baseModel"], {}
    for number, (model, objective) in enumerate(
        ((base, "reward"), (base, "reward"), (base, "causal_lm"), ("another/model", "reward"))
    ):
        first = Stage(
            index=0, name="s", method="reward_model", point=Point(adaptation="lora", objective=objective, strategy="single")
        )
        job = add_run(server.core, steps=1, base=model, first=first)
        end(server, job)
        with server.core.db.write() as session:
            row = session.get_one(Job, job)
            row.state, row.finished_at = "completed", server.core.clock() + timedelta(seconds=number)
        kept[number] = server.core.run_dir(job) / "result" / "model"
        kept[number].mkdir(parents=True, exist_ok=True)
    run = approve(server, plan)["jobId"]
    with server.core.db.read() as session:
        asked = session.get_one(Job, run).stages[0]["settings"]["objective"]
    assert asked["reward_model"] == str(kept[1]), "the newest of the two on the same base"
    end(server, run)
    stage = Stage.model_validate({**first.document(), "point": {"objective": "ppo", "options": {"reward": "reward_model"}}})
    with server.core.db.read() as session:
        for provider in ("local", "runpod"):
            (found,) = with_reward_model(session, server.core, server.core.owner_id, provider, base, [stage])
            assert found.settings.objective["reward_model"] == str(kept[1])
        outside = stage.model_copy(update={"settings": stage.settings.with_objective(reward_model=str(server.core.settings.home))})
        assert with_reward_model(session, server.core, server.core.owner_id, "local", base, [outside]) == [outside]
        with pytest.raises(ConflictError, match="cannot read it"):
            with_reward_model(session, server.core, server.core.owner_id, "runpod", base, [outside])


def test_a_run_is_made_again_with_a_change(server):
    """The copy has the same choices and rows and the authorised budget; the run it came from stays as it was."""
    dataset = upload(server)
    plan = ask(server, dataset=dataset)["plan"]
    server.api("PUT", f"/plans/{plan['id']}/tiles/config", json={"modification": {"type": "custom_value", "value": {"rank": 8}}})
    first = approve(server, plan, maxBudget=2, notifyAtPercent=50)["jobId"]
    again = server.api("POST", f"/plans/{plan['id']}/again")
    copy = again["plan"]
    assert copy["id"] != plan["id"] and copy["status"] == "pending_approval" and copy["jobId"] is None
    choices = copy["choices"]
    assert choices["datasetId"] == dataset["id"] and choices["settings"]["lora"]["rank"] == 8
    assert choices["budgetMaxUsd"] == 2 and choices["notifyAtPercent"] == 50
    assert again["contract"]["version"] == 3 and not again["contract"]["locked"]
    words = {"nlpModification": "use 3 epochs"}
    changed = server.api("POST", f"/plans/{copy['id']}/modify-with-ai", json=words)["plan"]
    second = approve(server, changed)["jobId"]
    epochs = [server.job(job_id)["stageSpecs"][0]["settings"]["epochs"] for job_id in (first, second)]
    assert epochs[0] != 3 and epochs[1] == 3
    for job_id in (first, second):
        end(server, job_id)


def test_a_plan_again_without_its_rows_asks_for_rows(server):
    dataset = upload(server)
    plan = ask(server, dataset=dataset)["plan"]
    server.api("POST", f"/plans/{plan['id']}/reject")
    server.api("DELETE", f"/data/{dataset['id']}", 204)
    copy = server.api("POST", f"/plans/{plan['id']}/again")["plan"]
    assert copy["choices"]["datasetId"] is None
    assert approve(server, copy, 422)["code"] == "data_missing"
    server.api("POST", "/plans/01NOSUCHPLAN/again", 404)


def test_the_alert_mark_of_a_new_plan_is_the_persons_own(server):
    assert ask(server)["plan"]["choices"]["notifyAtPercent"] == 80
    wanted = server.api("GET", "/notifications/preferences")
    server.api("PUT", "/notifications/preferences", json={**wanted, "alertOnBudgetPercent": 60})
    assert ask(server)["plan"]["choices"]["notifyAtPercent"] == 60
    server.api("PUT", "/notifications/preferences", json={**wanted, "alertOnBudgetPercent": 99})
    plan = ask(server, dataset=upload(server))["plan"]
    choices = plan["choices"]
    assert choices["notifyAtPercent"] < choices["freezeAtPercent"]
    marks = {"notifyAtPercent": choices["notifyAtPercent"], "freezeAtPercent": choices["freezeAtPercent"]}
    end(server, approve(server, plan, **marks)["jobId"])


def test_the_wizard_takes_every_axis(server):
    body = {"capability": "video_generation", "territory": "DE", "commercial": True, "budgetMaxUsd": 50, "deadlineHours": 48}
    plan = server.api("POST", "/plans", json={**body, "qualityTier": "professional", "gated": False})["plan"]
    assert plan["options"] and all(option["costUsd"]["max"] <= 50 for option in plan["options"])
    reasons = {reason["axis"]: reason for reason in plan["options"][0]["reasons"]}
    assert reasons["territory"]["asked"] and reasons["licence"]["source"] and reasons["deadline"]["asked"]
    assert server.api("POST", "/plans", 422, json={**body, "territory": "Germany"})["code"]


@pytest.fixture
def hub(monkeypatch):
    with data_hub() as made:
        monkeypatch.setenv("HF_ENDPOINT", made.url)
        monkeypatch.setenv("HF_HUB_OFFLINE", "0")
        monkeypatch.setenv("HF_TOKEN", "hf_mine")
        yield made


SMOL = "HuggingFaceTB/SmolLM2-135M-Instruct"


def test_a_model_that_cannot_be_had_is_refused_before_anything_is_made(server, hub):
    plan = ask(server, dataset=upload(server))["plan"]
    assert plan["choices"]["baseModel"] == SMOL
    assert server.api("GET", f"/plans/{plan['id']}/model-check")["status"] == "missing"
    assert approve(server, plan, 409)["code"] == "model_not_on_hub"
    hub.models[SMOL] = {"gated": "auto", "cardData": {"license": "apache-2.0"}}
    refused = approve(server, plan, 409)
    assert refused["code"] == "model_gated" and "Accept" in str(refused)
    assert server.api("GET", "/jobs")["jobs"] == [] and server.api("GET", f"/plans/{plan['id']}")["plan"]["status"] != "approved"
    hub.granted.add(SMOL)
    assert server.api("GET", f"/plans/{plan['id']}/model-check")["status"] == "granted"
    end(server, approve(server, plan)["jobId"])


def test_a_card_with_another_licence_is_told_and_refused_where_it_was_ruled_out(server, hub):
    hub.models[SMOL] = {"cardData": {"license": "cc-by-nc-4.0"}}
    words = "Quick fine-tune SmolLM2 for our customer support, commercial use, budget $1"
    plan = ask(server, words, dataset=upload(server))["plan"]
    assert "cc-by-nc-4.0" in server.api("GET", f"/plans/{plan['id']}/model-check")["licenceNote"]
    assert approve(server, plan, 409)["code"] == "licence_ruled_out"


def test_a_run_on_this_machine_does_not_wait_for_a_hub_that_is_away(server, hub):
    hub.refuse["/api/models"] = 503
    plan = ask(server, dataset=upload(server))["plan"]
    assert server.api("GET", f"/plans/{plan['id']}/model-check", 502)["code"] == "hub_not_answering"
    end(server, approve(server, plan)["jobId"])
