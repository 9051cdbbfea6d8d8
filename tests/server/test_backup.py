"""Backup and restore: over a real server process, and of an old state while the provider's account went on."""

import contextlib
import json
import os
import subprocess
import sys
import tarfile
from decimal import Decimal
from pathlib import Path

import httpx
import pytest
from harness import until
from typer.testing import CliRunner
from virtual import Virtual

from kriptik.cli.main import app
from kriptik.server import backup as backups
from kriptik.server import holds
from kriptik.server.settings import Settings
from kriptik.spec.errors import BadInputError, ConflictError
from kriptik.store.tables import LedgerRow, Resource

SRC = Path(backups.__file__).resolve().parents[2]


@contextlib.contextmanager
def serving(home):
    """`kriptik up` as a process of its own; gives a client that is signed in."""
    (home / "server.json").unlink(missing_ok=True)
    env = {**os.environ, "KRIPTIK_HOME": str(home), "PYTHONPATH": str(SRC)}
    process = subprocess.Popen([sys.executable, "-m", "kriptik.cli.main", "up", "--port", "0"], env=env, stdout=subprocess.DEVNULL)
    try:
        url = until(lambda: (home / "server.json").exists() and json.loads((home / "server.json").read_text())["url"], 30)
        until(lambda: httpx.get(f"{url}/api/training/health", trust_env=False).status_code == 200, 30)
        headers = {"Authorization": f"Bearer {(home / 'token').read_text()}"}
        with httpx.Client(base_url=f"{url}/api/training", headers=headers, trust_env=False, timeout=30) as http:
            http.process = process
            yield http
    finally:
        process.kill()
        process.wait(10)


def upload(http, name):
    rows = "".join(json.dumps({"text": f"{name} says number {n} in a few words"}) + "\n" for n in range(20))
    http.post("/data", files={"file": (f"{name}.jsonl", rows.encode())}).raise_for_status()


def names(http):
    answer = http.get("/data")
    answer.raise_for_status()
    return {dataset["name"] for dataset in answer.json()["datasets"]}


def call(monkeypatch, home, *words, code=0):
    monkeypatch.setenv("KRIPTIK_HOME", str(home))
    answer = CliRunner().invoke(app, [str(word) for word in words])
    assert answer.exit_code == code, (answer.output, answer.exception)
    return answer


def test_a_running_server_is_backed_up_killed_and_put_back(tmp_path, monkeypatch):
    home, file = tmp_path / "home", tmp_path / "state.tar"
    with serving(home) as http:
        upload(http, "before")
        call(monkeypatch, home, "backup", file)
        upload(http, "after")
        assert names(http) == {"before.jsonl", "after.jsonl"}
        refused = call(monkeypatch, home, "restore", file, "--replace", code=1).exception
        assert isinstance(refused, ConflictError) and refused.code == "home_in_use"
    assert file.stat().st_mode & 0o077 == 0, "nobody else may read it"
    again = call(monkeypatch, home, "restore", file, code=1).exception
    assert isinstance(again, ConflictError) and again.code == "state_exists"
    secret = (home / "secret").read_text()
    call(monkeypatch, home, "restore", file, "--replace")
    assert (home / "secret").read_text() == secret, "links and workers' tokens still work"
    assert list(home.glob("before-restore-*/kriptik.db")), "nothing is removed"
    with serving(home) as http:
        assert names(http) == {"before.jsonl"}
        until(lambda: not (home / holds.RESTORED).exists(), 10)
    other = tmp_path / "elsewhere"
    call(monkeypatch, other, "restore", file)
    with serving(other) as http:
        assert names(http) == {"before.jsonl"}
        (dataset,) = http.get("/data").json()["datasets"]
        assert http.get(f"/data/{dataset['id']}").status_code == 200


@pytest.fixture
def world(tmp_path):
    made = Virtual(tmp_path)
    yield made
    made.close()


def settings(world):
    return Settings.from_env(home=world.home)


def test_a_backup_holds_no_key_and_says_what_it_holds(world, tmp_path, monkeypatch):
    monkeypatch.setenv("KRIPTIK_RUNPOD_API_KEY", "rpa_SECRETSECRET")
    job = world.run()
    world.training(job)
    made = backups.backup(settings(world), tmp_path / "a.tar", secret=False)
    assert made.install == world.core.install and f"runs/{job}/jobs/g1.json" in made.files and not made.secret
    data = (tmp_path / "a.tar").read_bytes()
    assert b"rpa_SECRETSECRET" not in data and (world.home / "secret").read_bytes() not in data
    assert (world.home / "token").read_bytes() not in data
    world.end(job)


@pytest.mark.parametrize("how", ["flipped", "cut", "newer", "hostile"])
def test_a_damaged_backup_changes_nothing(world, tmp_path, how):
    file = tmp_path / "a.tar"
    backups.backup(settings(world), file)
    data = file.read_bytes()
    if how == "flipped":
        at = data.index(b"SQLite format 3") + 5000
        file.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    elif how == "cut":
        file.write_bytes(data[: len(data) // 2])
    else:
        with tarfile.open(file) as archive:
            manifest = json.loads(archive.extractfile(backups.MANIFEST).read())
        if how == "newer":
            manifest["format"] = 99
        else:
            manifest["files"]["../../evil"] = {"sha256": "0" * 64, "bytes": 1}
        (tmp_path / backups.MANIFEST).write_text(json.dumps(manifest))
        with tarfile.open(file, "a") as archive:
            archive.add(tmp_path / backups.MANIFEST, backups.MANIFEST)
    other = tmp_path / "other"
    with pytest.raises(BadInputError):
        backups.restore(Settings.from_env(home=other), file)
    assert not (other / "kriptik.db").exists() and not (other / holds.RESTORED).exists()
    assert not list(tmp_path.rglob("evil"))


def put_back(world, file):
    """The server dies, an old state is put back, another server starts."""
    world.core.db.close()
    backups.restore(settings(world), file, replace=True)
    world.open()


def quietly(world, condition, ticks=400):
    """Ticks until then; at no moment are there two machines."""

    def look():
        assert len(world.account.own()) <= 1, [pod.name for pod in world.account.own()]
        return condition()

    world.until(look, ticks)


def books_equal_the_bill(world, job):
    """Once the provider's bill was looked at: the meter begins with the intent, a moment before the machine."""
    assert world.spent(job) >= world.account.bill()
    world.until(lambda: abs(world.spent(job) - world.account.bill()) < Decimal("0.00001"), 90)


def test_an_old_state_finds_the_machine_it_never_heard_of_books_it_and_never_doubles_it(world, tmp_path):
    job = world.run()
    backups.backup(settings(world), tmp_path / "old.tar")
    world.training(job)
    world.tick(60)
    (first,) = world.account.own()
    put_back(world, tmp_path / "old.tar")
    assert world.job(job).state == "queued" and world.rows(Resource) == []
    quietly(world, lambda: world.job(job).state == "setting_up" and world.account.own())
    (second,) = world.account.own()
    assert (first.name[-3:], second.name[-3:]) == ("-g1", "-g2"), "a number that was handed out is never handed out again"
    found = [row for row in world.rows(LedgerRow) if "without a run" in row.note]
    assert len(found) == 1 and found[0].amount > Decimal("0.05")
    world.heard(job, "ready")
    world.tick(30)
    world.end(job)
    books_equal_the_bill(world, job)


def test_an_old_state_keeps_the_machine_that_it_knows(world, tmp_path):
    job = world.run()
    world.training(job)
    backups.backup(settings(world), tmp_path / "old.tar")
    world.tick(20)
    put_back(world, tmp_path / "old.tar")
    for _ in range(20):
        world.heard(job, "ready")
        world.tick()
    assert world.account.creates == 1 and world.job(job).state == "training"
    world.end(job)
    books_equal_the_bill(world, job)


def test_a_state_that_is_a_generation_behind(world, tmp_path):
    job = world.run()
    world.training(job)
    backups.backup(settings(world), tmp_path / "old.tar")
    world.account.vanish(world.account.own()[0].id)
    world.until(lambda: world.job(job).generation == 2 and world.account.own())
    world.tick(20)
    put_back(world, tmp_path / "old.tar")
    assert world.job(job).generation == 1
    quietly(world, lambda: world.job(job).generation == 3 and world.account.own())
    world.end(job)
    books_equal_the_bill(world, job)


def test_while_the_provider_is_away_nothing_is_created(world, tmp_path):
    job = world.run()
    backups.backup(settings(world), tmp_path / "old.tar")
    world.training(job)
    world.account.keys.clear()
    put_back(world, tmp_path / "old.tar")
    world.tick(30)
    assert world.account.creates == 1 and world.job(job).state == "queued" and world.core.held
    from runpod_fake import KEY

    world.account.keys.add(KEY)
    quietly(world, lambda: world.job(job).generation == 2 and world.account.own())
    assert world.core.held is None
    world.end(job)
    books_equal_the_bill(world, job)


def test_a_frozen_run_goes_on_from_the_newest_checkpoint_on_the_disk(world, tmp_path):
    job = world.run()
    world.act("freeze", job)
    world.until(lambda: world.job(job).state == "frozen")
    backups.backup(settings(world), tmp_path / "old.tar")
    for name, manifest in (("s0-000010-g1", {"stage": 0, "step": 10, "files": {}}), ("s0-000020-g2", None)):
        folder = world.core.run_dir(job) / "checkpoints" / name
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_text(json.dumps(manifest))
        (folder / "_COMPLETE").write_text("")
    put_back(world, tmp_path / "old.tar")
    world.until(lambda: world.core.held is None, 10)
    row = world.job(job)
    assert row.next_checkpoint == row.freeze_state["checkpoint"] == "s0-000010-g1", "the damaged one does not count"
    world.end(job)
