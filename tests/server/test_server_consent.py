"""Pictures of a person over HTTP: planned, refused without the consent of the person shown, run with it; nobody else is asked."""

import io
import zipfile

import numpy as np
import pytest
from harness import until
from PIL import Image
from test_server_voice import approve, ask, end

from kriptik.providers.provider import Offer
from kriptik.server import planning
from kriptik.server.runs import jobfile
from kriptik.server.runs.launch import RunFacts
from kriptik.spec.consent import Consent
from kriptik.spec.job import TrainJob
from kriptik.spec.plan import TrainingImplementationPlan

SAID = {"person": "Alex Example", "statement": "I agree that a model learns from photos of me for our cards."}
WARNING = "may be learnt only with the recorded consent"


@pytest.fixture(autouse=True)
def pictures_train(monkeypatch, provider):
    """What is proved on this checkout is the conformance suite's business; a card that a small image model fits on."""
    real = planning.method_statuses

    def statuses():
        proved = {"status": "trainable", "reason": None, "capabilities": ["image_generation"]}
        return [s.model_copy(update=proved) if s.id in ("lora", "dreambooth") else s for s in real()]

    monkeypatch.setattr(planning, "method_statuses", statuses)
    offer = Offer(
        provider="local", gpu="RTX 4090", gpu_count=1, gpu_memory_gb=24, cpu_cores=8, memory_gb=64, price_per_hour=0
    )  # fmt: skip
    monkeypatch.setattr(provider, "offers", lambda: [offer])


@pytest.fixture
def pictures(server):
    """A data set of twelve pictures without captions."""
    sink, dice = io.BytesIO(), np.random.default_rng(1)
    with zipfile.ZipFile(sink, "w") as archive:
        for number in range(12):
            one = io.BytesIO()
            Image.fromarray(dice.integers(0, 255, (96, 96, 3), dtype=np.uint8)).save(one, format="PNG")
            archive.writestr(f"{number}.png", one.getvalue())
    return server.api("POST", "/data", 201, files={"file": ("pictures.zip", sink.getvalue())})


def test_pictures_of_a_person_are_approved_with_their_consent_alone(server, pictures):
    plan = ask(server, "Quick LoRA of SD 1.5 on 12 photos of my girlfriend, on my own machine, budget $2", pictures)
    assert plan["consentNeed"] == {"subject": "likeness", "who": "my girlfriend"}
    assert any("my girlfriend" in one and WARNING in one for one in plan["warnings"])
    assert plan["approvable"], plan["whyNotApprovable"]
    refused = approve(server, plan, 422)
    assert refused["code"] == "consent_missing" and refused["fields"]["who"] == "my girlfriend" and "person" in refused["nextStep"]
    assert approve(server, plan, 422, consent={**SAID, "statement": "yes, fine"})["code"] == "invalid_input"
    assert server.api("GET", "/jobs")["jobs"] == [] and server.api("GET", f"/plans/{plan['id']}")["plan"]["status"] != "approved"
    made = approve(server, plan, consent={**SAID, "subject": "voice", "givenBy": "someone_authorised"})
    kept = made["approvedPlan"]["consent"]
    assert kept["subject"] == "likeness" and kept["person"] == SAID["person"] and kept["recordedAt"], "the plan says of what"
    folder = server.core.run_dir(made["jobId"])
    until(lambda: jobfile.newest(folder))
    job = TrainJob.model_validate_json(jobfile.path(folder, 1).read_bytes())
    end(server, made["jobId"])
    assert job.modality == "image" and job.consent == Consent.model_validate(kept)
    assert job.consent.sentence.startswith("The pictures show Alex Example. Consent was recorded on ")
    again = server.api("POST", f"/plans/{plan['id']}/again")["plan"]
    assert again["consentNeed"] and approve(server, again, 422)["code"] == "consent_missing", "given for one run, not for all"


@pytest.mark.parametrize("wish", ["photos of our dog", "product shots of our teapots", "quilts in my grandmother's style"])
def test_what_is_no_person_is_not_asked_for(server, pictures, wish):
    plan = ask(server, f"Quick LoRA of SD 1.5 on 12 {wish}, on my own machine, budget $2", pictures)
    assert plan["consentNeed"] is None and not any(WARNING in one for one in plan["warnings"])
    made = approve(server, plan)
    assert made["approvedPlan"]["consent"] is None
    end(server, made["jobId"])


def test_a_subject_that_turns_out_to_be_a_person_is_asked_for(server, pictures):
    plan = ask(server, "DreamBooth on SD 1.5 from 12 photos, on my own machine, budget $2", pictures)
    assert plan["consentNeed"] is None
    words = {"nlpModification": 'class prompt "a photo of a woman"'}
    plan = server.api("POST", f"/plans/{plan['id']}/modify-with-ai", json=words)["plan"]
    assert plan["consentNeed"] == {"subject": "likeness", "who": "woman"}
    assert approve(server, plan, 422)["code"] == "consent_missing"


def test_the_names_of_before_are_read(server, pictures):
    """Voices alone had a consent until December 2026: plans, runs and clients of then have its names."""
    old = {"speaker": "Alex Example", "statement": SAID["statement"], "givenBy": "speaker", "recordedAt": "2026-11-20T10:00:00Z"}
    plan = ask(server, "Quick LoRA of SD 1.5 on 12 photos of my girlfriend, on my own machine, budget $2", pictures)
    made = approve(server, plan, voiceConsent={"speaker": "Alex Example", "statement": SAID["statement"]})
    assert made["approvedPlan"]["consent"]["person"] == "Alex Example"
    end(server, made["jobId"])
    document = {name: value for name, value in made["approvedPlan"].items() if name not in ("consent", "consentNeed")}
    kept = TrainingImplementationPlan.model_validate({**document, "voiceConsent": old}).consent
    assert kept.person == "Alex Example" and kept.given_by == "person" and kept.subject == "voice"
    facts = {"prompt": "p", "capability": "voice_cloning", "modality": "voice", "method": "voice_clone", "consent": old}
    assert RunFacts.model_validate(facts).consent == kept
    assert kept.sentence == (
        "The voice is that of Alex Example. Consent was recorded on 2026-11-20, given by the speaker: "
        f"“{SAID['statement']}”"
    )
