"""What a generation elsewhere may fetch and put, and what it may not."""

import hashlib
import json

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from virtual import Virtual

from kriptik.server import problems
from kriptik.server.routes import worker_files
from kriptik.server.runs import jobfile
from kriptik.spec.job import TrainJob
from kriptik.store.tables import Job


@pytest.fixture
def world(tmp_path):
    made = Virtual(tmp_path)
    yield made
    made.close()


@pytest.fixture
def pod(world):
    """A client with the token of a run's generation 1."""
    job = world.run()
    world.training(job)
    base = f"http://testserver/api/worker/v1/jobs/{job}/generations/1"
    headers = {"Authorization": f"Bearer {world.core.worker_token(job, 1)}"}
    client = TestClient(_app(world), base_url=base, headers=headers)
    client.job, client.folder = job, world.core.run_dir(job)
    yield client
    world.end(job)


def _app(world):
    app = FastAPI()
    app.state.core = world.core
    problems.install(app)
    app.include_router(worker_files.router)
    return app


def put(pod, path, data, sha256=None):
    headers = {"X-Content-SHA256": sha256 or hashlib.sha256(data).hexdigest()}
    return pod.put(f"{pod.base_url}files/{path}", content=data, headers=headers)


OWN = "checkpoints/s0-000010-g1/state.json"


def test_a_file_arrives_whole_or_not_at_all(pod):
    assert put(pod, OWN, b"{}").status_code == 204
    assert (pod.folder / OWN).read_bytes() == b"{}"
    torn = put(pod, "checkpoints/s0-000020-g1/state.json", b"{", hashlib.sha256(b"{}").hexdigest())
    assert torn.json()["code"] == "torn_upload" and not list((pod.folder / "checkpoints" / "s0-000020-g1").iterdir())


def test_a_checkpoints_file_is_put_once(pod):
    put(pod, OWN, b"{}")
    assert put(pod, OWN, b"{}").status_code == 204, "the same again is nothing new"
    assert put(pod, OWN, b"[]").json()["code"] == "exists"
    assert (pod.folder / OWN).read_bytes() == b"{}"
    for data in (b"1", b"22"):
        assert put(pod, "run.lock", data).status_code == 204
    assert (pod.folder / "run.lock").read_bytes() == b"22"


def test_a_reward_model_of_a_run_is_handed_out_and_no_other_folder(world, pod, tmp_path):
    def handed():
        return {file["path"]: file["bytes"] for file in pod.get(f"{pod.base_url}files").json()["files"]}

    def names(folder):
        job = TrainJob.model_validate_json(jobfile.path(pod.folder, 1).read_text())
        stage = job.stages[0]
        stage = stage.model_copy(update={"settings": stage.settings.with_objective(reward_model=str(folder))})
        jobfile.write(pod.folder, job.model_copy(update={"stages": [stage]}))

    own, secret = world.core.run_dir("earlier") / "result" / "model", tmp_path / "secret"
    for folder in (own, secret):
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
    (own / "link").symlink_to(secret / "config.json")
    before = handed()
    names(secret)
    assert handed() == before
    names(own)
    assert handed() == {**before, "reward/0/config.json": 2}
    assert pod.get(f"{pod.base_url}files/reward/0/config.json").content == b"{}"
    assert pod.get(f"{pod.base_url}files/reward/0/link").status_code == 404


@pytest.mark.parametrize(
    "path",
    ["checkpoints/s0-000010-g2/state.json", "checkpoints/x/y", "jobs/g1.json", "events/g1.jsonl", "result/../jobs/g1.json",
     "result/%2e%2e/%2e%2e/x", "../../secret", "made/a/b.jsonl", "checkpoints/s0-000010-g1/a/b", "result/" + "a" * 200],
)  # fmt: skip
def test_nothing_else_can_be_put(pod, path):
    before = {p for p in pod.folder.rglob("*") if p.is_file()}
    assert put(pod, path, b"x").status_code in (404, 405, 422)
    ask = {"files": [{"path": path, "bytes": 1, "sha256": "0" * 64}]}
    assert pod.post(f"{pod.base_url}files", json=ask).status_code == 422
    assert {p for p in pod.folder.rglob("*") if p.is_file()} == before


def test_the_handout_names_all_that_is_needed_and_nothing_else_is_read(pod, world, tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"text": "a"}\n')
    for path in (
        "run.lock",
        "made/s0-x.jsonl",
        "checkpoints/s0-000010-g1/_COMPLETE",
        "checkpoints/s0-000005-g1/_COMPLETE",
        "private",
    ):
        (pod.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (pod.folder / path).write_text("1")
    file = jobfile.path(pod.folder, 1)
    facts = json.loads(file.read_text())
    facts["data"] = {"trainPath": str(rows), "trainRows": 1, "sha256": "0" * 64}
    facts["resumeFrom"] = "s0-000010-g1"
    file.write_text(json.dumps(facts))
    named = {f["path"] for f in pod.get(f"{pod.base_url}files").json()["files"]}
    assert named == {"data/train.jsonl", "run.lock", "made/s0-x.jsonl", "checkpoints/s0-000010-g1/_COMPLETE"}
    assert pod.get(f"{pod.base_url}files/data/train.jsonl").text == '{"text": "a"}\n'
    for path in ("private", "checkpoints/s0-000005-g1/_COMPLETE", "jobs/g1.json", "..%2f..%2fsecret"):
        assert pod.get(f"{pod.base_url}files/{path}").status_code == 404


def test_pictures_of_the_rows_are_handed_out_and_samples_taken(pod, tmp_path):
    rows, picture = tmp_path / "train.jsonl", tmp_path / "media" / "a1.png"
    rows.write_text('{"image": "media/a1.png"}\n')
    picture.parent.mkdir()
    picture.write_bytes(b"png")
    file = jobfile.path(pod.folder, 1)
    facts = json.loads(file.read_text()) | {"data": {"trainPath": str(rows), "trainRows": 1, "sha256": "0" * 64}}
    file.write_text(json.dumps(facts))
    assert pod.get(f"{pod.base_url}files/data/media/a1.png").content == b"png"
    for path in ("samples/s0-000010-0.png", "prior/0001.png"):
        assert put(pod, path, b"picture").status_code == 204 and (pod.folder / path).read_bytes() == b"picture"


def test_only_with_the_token_of_a_generation_that_may_speak(pod, world):
    other = world.core.worker_token(pod.job, 2)
    for token in ("", other):
        answer = pod.get(f"{pod.base_url}job", headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == 401
    with world.core.db.write() as session:
        session.get_one(Job, pod.job).generation = 2
    assert put(pod, OWN, b"{}").json()["code"] == "stale_generation"
    with world.core.db.write() as session:
        session.get_one(Job, pod.job).generation = 1


def test_a_full_disk_is_said_before_anything_is_sent(pod):
    ask = {"files": [{"path": OWN, "bytes": 1 << 60, "sha256": "0" * 64}]}
    answer = pod.post(f"{pod.base_url}files", json=ask)
    assert (answer.status_code, answer.json()["code"]) == (507, "disk_full")
