"""Object storage against a real S3 server on a loopback port: signed addresses, pulls that never look complete when torn."""

import httpx
import pytest
from s3_server import new_bucket, s3_server

from kriptik.spec.errors import BadInputError, KriptikError
from kriptik.storage.objects import FolderObjects, S3Objects, must_have_room, open_objects


@pytest.fixture(scope="module")
def s3():
    with s3_server() as url:
        yield url


@pytest.fixture
def bucket(s3, monkeypatch):
    return new_bucket(s3, monkeypatch)


def put(objects, key, data):
    answer = httpx.put(objects.signed("PUT", key), content=data, trust_env=False)
    assert answer.status_code == 200, answer.text


def test_a_file_goes_in_and_out_by_signed_addresses_alone(bucket):
    objects = open_objects(f"s3://{bucket}/kriptik", None)
    assert isinstance(objects, S3Objects) and objects.size("j1/run.lock") is None
    put(objects, "j1/run.lock", b"{}")
    assert objects.size("j1/run.lock") == 2
    assert httpx.get(objects.signed("GET", "j1/run.lock"), trust_env=False).content == b"{}"


def test_a_pull_brings_whole_checkpoints_once_and_leaves_torn_ones(bucket, tmp_path):
    objects = S3Objects(bucket, "kriptik")
    put(objects, "j1/run.lock", b"{}")
    for name in ("a.safetensors", "manifest.json"):
        put(objects, f"j1/checkpoints/s0-000010-g1/{name}", b"x" * 100)
        put(objects, f"j1/checkpoints/s0-000020-g1/{name}", b"y" * 100)
    put(objects, "j1/checkpoints/s0-000010-g1/_COMPLETE", b"")
    put(objects, "j2/run.lock", b"another run's")
    assert objects.pull("j1", tmp_path) == 202
    found = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert found == ["checkpoints/s0-000010-g1/_COMPLETE", "checkpoints/s0-000010-g1/a.safetensors",
                     "checkpoints/s0-000010-g1/manifest.json", "run.lock"]  # fmt: skip
    assert objects.pull("j1", tmp_path) == 2, "only what may change is fetched again"


def test_what_is_removed_is_gone_and_nothing_beside_it(bucket):
    objects = S3Objects(bucket, "kriptik")
    for name in ("s0-000010-g1", "s0-000010-g1-2"):
        for file in ("a.json", "_COMPLETE"):
            put(objects, f"j1/checkpoints/{name}/{file}", b"1")
    objects.remove("j1/checkpoints/s0-000010-g1")
    sizes = [objects.size(f"j1/checkpoints/{name}/_COMPLETE") for name in ("s0-000010-g1", "s0-000010-g1-2")]
    assert sizes == [None, 1]


def test_a_storage_that_is_away_says_so(bucket, monkeypatch, tmp_path):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    objects = S3Objects(bucket)
    with pytest.raises(KriptikError) as found:
        objects.pull("j1", tmp_path)
    assert (found.value.code, found.value.status) == ("storage_away", 503)


def test_the_default_is_the_run_folders_themselves(tmp_path):
    objects = open_objects(None, tmp_path)
    assert isinstance(objects, FolderObjects) and objects.signed("PUT", "j/x") is None
    (tmp_path / "j").mkdir()
    (tmp_path / "j" / "x").write_bytes(b"123")
    assert (objects.size("j/x"), objects.size("j/y"), objects.pull("j", tmp_path)) == (3, None, 0)
    with pytest.raises(BadInputError, match="no storage address"):
        open_objects("ftp://x", tmp_path)


def test_a_full_disk_is_seen_before_it_is_written(tmp_path):
    must_have_room(tmp_path, 1)
    with pytest.raises(KriptikError) as found:
        must_have_room(tmp_path, 1 << 60)
    assert found.value.status == 507
