"""Folders of KRIPTIK_HOME that are not what they should be: told in words, never tried for ever."""

import pytest


@pytest.mark.parametrize("broken", ["link", "file"])
def test_a_run_without_a_folder_for_models_fails_with_words_and_can_be_retried(server, broken):
    cache = server.home / "cache"
    if broken == "link":
        cache.symlink_to(server.home / "disk that is not there")
    else:
        cache.write_text("")
    job = server.wait(server.train(steps=12), "failed")
    assert job["failure"]["code"] == "not_a_folder" and "'cache'" in job["failure"]["message"]
    assert ("leads nowhere" in job["failure"]["message"]) == (broken == "link") and "delete it" in job["failure"]["nextStep"]
    assert server.provider.made == {}, "nothing was asked for"
    cache.unlink()
    server.api("POST", f"/jobs/{job['id']}/retry")
    server.wait(job["id"], "completed")
    assert cache.is_dir()
