"""A run on a rented machine whose checkpoints are too large for one request: sent in parts by a worker that holds no key."""

import pytest
from cloud import Cloud, expected
from harness import until
from s3_server import new_bucket, s3_server

from kriptik.storage import objects

pytestmark = [pytest.mark.chaos, pytest.mark.slow]
PART = 5 << 20


def test_large_checkpoints_go_in_parts_and_what_was_not_joined_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(objects, "PARTS_FROM", PART + 1)
    monkeypatch.setattr(objects, "PART_BYTES", PART)
    with s3_server() as url:
        cloud = Cloud(tmp_path, monkeypatch, storage_url=f"s3://{new_bucket(url, monkeypatch)}/kriptik")
        store = cloud.server.core.objects
        joined = []
        monkeypatch.setattr(store, "join", lambda key, size, join=store.join: (joined.append((key, size)), join(key, size)))
        try:
            job = cloud.run(steps=30, knobs={"stepS": 0.02, "pad": 6 << 20})
            until(lambda: cloud.step(job) >= 12)
            store.begin(f"{job}/checkpoints/s0-000099-g1/state.json", 3 * PART)
            cloud.server.api("POST", f"/jobs/{job}/freeze")
            checkpoint = cloud.server.wait(job, "frozen", limit_s=30)["freezeState"]["checkpoint"]
            assert store.abort(job) == 0, "gone with the machine"
            key = f"{job}/checkpoints/{checkpoint}/state.json"
            assert dict(joined)[key] == store.size(key) > 6 << 20
            cloud.server.api("POST", f"/jobs/{job}/resume", json={"newBudget": 6})
            cloud.server.wait(job, "completed", limit_s=60)
            assert cloud.result(job) == expected(30)
        finally:
            cloud.close()
