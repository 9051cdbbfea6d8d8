"""Large files in parts against a real S3 server: signatures as botocore makes them, resumed uploads, joins, nothing left behind."""

from datetime import UTC, datetime
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest
from s3_server import new_bucket, s3_server

from kriptik.spec.errors import KriptikError
from kriptik.storage import objects, s3_parts
from kriptik.storage.objects import S3Objects

PART = 5 << 20
"""S3's smallest."""
KEY = "j1/checkpoints/s0-000010-g1/model-r0.safetensors"
DATA = bytes(range(256)) * (12 << 12)


@pytest.fixture(scope="module")
def s3():
    with s3_server() as url:
        yield url


@pytest.fixture(params=["", "kriptik/deep"])
def store(s3, monkeypatch, request):
    for name, value in {"PARTS_FROM": PART + 1, "PART_BYTES": PART}.items():
        monkeypatch.setattr(objects, name, value)
    return S3Objects(new_bucket(s3, monkeypatch), request.param)


def put(begun, number):
    start = (number - 1) * begun.part_bytes
    answer = httpx.put(begun.missing[number], content=DATA[start : start + begun.part_bytes], trust_env=False)
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("token", [None, "a token/with+signs="])
@pytest.mark.parametrize("query", [{"partNumber": "3", "uploadId": "a b/c=="}, {"uploads": "", "prefix": "a/ä b/"}])
def test_signatures_are_those_of_botocore(query, token):
    from botocore.auth import S3SigV4QueryAuth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    now = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
    url = "https://s3.eu-west-1.amazonaws.com/bucket/a%20key/x.safetensors"
    ours = s3_parts.Signer("AKIDEXAMPLE", "se/cr+et", "eu-west-1", token).sign("PUT", url, query, now, 900)
    request = AWSRequest("PUT", url, params=query)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("botocore.auth.get_current_datetime", lambda *a, **k: now.replace(tzinfo=None), raising=False)
        S3SigV4QueryAuth(Credentials("AKIDEXAMPLE", "se/cr+et", token), "s3", "eu-west-1", expires=900).add_auth(request)
    theirs = dict(parse_qsl(urlsplit(request.url).query, keep_blank_values=True))
    mine = dict(parse_qsl(urlsplit(ours).query, keep_blank_values=True))
    assert mine == theirs


def test_a_large_file_goes_in_parts_and_what_arrived_is_not_sent_again(store):
    begun = store.begin(KEY, len(DATA))
    assert sorted(begun.missing) == [1, 2, 3] and begun.part_bytes == PART
    put(begun, 2)
    with pytest.raises(KriptikError) as early:
        store.join(KEY, len(DATA))
    assert (early.value.code, early.value.status) == ("not_whole", 409) and store.size(KEY) is None
    begun = store.begin(KEY, len(DATA))
    assert sorted(begun.missing) == [1, 3], "another try goes on where the first one broke off"
    put(begun, 1)
    put(begun, 3)
    store.join(KEY, len(DATA))
    store.join(KEY, len(DATA))
    assert store.size(KEY) == len(DATA)
    assert httpx.get(store.signed("GET", KEY), trust_env=False).content == DATA
    assert store.abort("j1") == 0, "what was joined is no unfinished upload"


def test_what_is_never_joined_is_given_up(store):
    put(store.begin(KEY, len(DATA)), 1)
    store.begin("j10/x", len(DATA))
    assert store.abort("j1") == 1 and store.abort("j1") == 0
    assert sorted(store.begin(KEY, len(DATA)).missing) == [1, 2, 3]
    assert store.abort("j10") == 1, "another run's is left alone"


def test_small_files_go_whole_and_there_are_never_too_many_parts(store, monkeypatch):
    assert store.begin(KEY, PART) is None
    monkeypatch.setattr(objects, "MOST_PARTS", 2)
    assert sorted(store.begin(KEY, len(DATA)).missing) == [1, 2]


def test_without_keys_to_sign_with_it_is_said(store, monkeypatch):
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    assert store.begin(KEY, len(DATA)) is None, "one request is enough for it"
    with pytest.raises(KriptikError) as found:
        store.begin(KEY, 6_000_000_000)
    assert found.value.code == "storage_keys" and "AWS_SECRET_ACCESS_KEY" in found.value.next_step
