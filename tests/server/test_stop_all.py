"""The kill switch with the server dead and the database gone, against the RunPod fake."""

import json

import pytest
from runpod_fake import KEY
from typer.testing import CliRunner
from virtual import Virtual

from kriptik.cli.main import app
from kriptik.server import killswitch
from kriptik.spec.errors import BadInputError


@pytest.fixture
def world(tmp_path, monkeypatch):
    """Two runs at work, another installation's pod and a stranger's beside them; of RunPod only the key is known."""
    made = Virtual(tmp_path)
    monkeypatch.setattr(killswitch, "PAUSE_S", 0)
    for name, value in {"HOME": made.home, "RUNPOD_API_KEY": KEY, "RUNPOD_URL": made.http.url}.items():
        monkeypatch.setenv(f"KRIPTIK_{name}", str(value))
    made.runs = [made.run(), made.run()]
    made.until(lambda: len(made.account.own()) == 2)
    for job in made.runs:
        made.heard(job, "ready")
    made.other = f"kt-{'0' * 8}-another0-g1"
    made.account.create({**made.account.own()[0].request, "name": made.other})
    yield made
    made.account.vanish(next(pod.id for pod in made.account.own() if pod.name == made.other))
    made.close()


def stop_all(*words, code=0):
    answer = CliRunner().invoke(app, ["stop-all", "--yes", "--json", *words])
    assert answer.exit_code == code, (answer.output, answer.exception)
    return json.loads(answer.output)


def names(world):
    return {pod.name for pod in world.account.own()}


def end_all(world):
    for job in world.runs:
        world.act("stop", job)
    world.until(lambda: names(world) == {world.other} and all(world.job(job).state == "stopped" for job in world.runs))


@pytest.mark.parametrize("left", ["file", "database", "nothing"])
def test_with_server_dead_and_state_lost_everything_ours_ends_and_nothing_else(world, tmp_path, left):
    install, wanted = world.core.install, names(world) - {world.other}
    world.core.db.close()  # its process is no more
    away = tmp_path / "away"
    away.mkdir()
    gone = {"file": "*.db*", "database": "install", "nothing": "*"}[left]
    for path in world.home.glob(gone):
        path.rename(away / path.name)
    if left == "nothing":
        with pytest.raises(BadInputError, match="which installation"):
            CliRunner().invoke(app, ["stop-all", "--yes"], catch_exceptions=False)
        found = stop_all("--install", install)
    else:
        assert {one["name"] for one in stop_all("--dry-run")} == wanted and names(world) >= wanted, "only looked at"
        found = stop_all()
    assert {one["name"] for one in found} == wanted and all(one["gone"] for one in found)
    assert names(world) == {world.other}
    assert world.account.foreign.name not in world.account.touched and world.other not in world.account.touched
    for path in away.iterdir():
        path.rename(world.home / path.name)
    world.open()
    end_all(world)


def test_an_end_that_fails_is_tried_again_and_a_refused_key_is_said(world):
    world.account.keep_after_delete = 1
    assert all(one["gone"] for one in stop_all())
    world.account.keys.clear()
    (away,) = stop_all(code=1)
    assert away["provider"] == "runpod" and "not accepted" in away["problem"]
    world.account.keys.add(KEY)
    end_all(world)


def test_a_server_that_lives_makes_nothing_new_until_it_is_over(world):
    made = world.account.creates
    stop_all()
    world.tick(120)
    assert world.account.creates == made and names(world) == {world.other}
    assert {world.job(job).state for job in world.runs} == {"queued"}, "they wait; their checkpoints are kept"
    checks = json.loads(CliRunner().invoke(app, ["doctor", "--json"]).output)
    assert any(check["name"] == "holds" and not check["ok"] for check in checks)
    assert CliRunner().invoke(app, ["stop-all", "--over"]).exit_code == 0
    world.until(lambda: len(names(world)) == 3, 60)
    end_all(world)
