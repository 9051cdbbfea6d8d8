"""`kill -9` at the worst moments: the run resumed afterwards ends with the very same bits."""

import lives
import pytest
import toy

pytestmark = pytest.mark.chaos


@pytest.fixture(autouse=True)
def tables(monkeypatch):
    toy.install(monkeypatch)


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """Uninterrupted runs of the two toy objectives: losses and final files."""
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        toy.install(patch)
        lives.preload(tmp_path_factory.mktemp("preload"), toy.Toy)
        for objective in ("squares", "rolled"):
            job = toy.job_in(tmp_path_factory.mktemp(objective), objective=objective, checkpoint_every=3)
            code, said = lives.live(job, toy.Toy)
            assert code == 0
            found[objective] = (lives.losses(said), lives.final_tensors(job.run_dir))
    return found


@pytest.mark.parametrize("objective", [pytest.param("squares", marks=pytest.mark.slow), "rolled"])
@pytest.mark.parametrize("point", list(lives.POINTS))
def test_killed_three_times_and_still_the_same_bits(tmp_path, straight, objective, point):
    job = toy.job_in(tmp_path, objective=objective, checkpoint_every=3)
    merged, said = lives.killed_again_and_again(job, point, toy.Toy)
    assert merged == straight[objective][0]
    assert lives.final_tensors(job.run_dir) == straight[objective][1]
    assert said[-1]["type"] == "result" and said[-1]["evalBefore"]["step"] == 0
