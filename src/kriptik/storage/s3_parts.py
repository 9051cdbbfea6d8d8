"""Large files into a bucket in parts, by signed addresses: begun and joined by the server, sent by a worker that holds no key.

S3 takes 5 GB at most in one request, and a request that broke off starts anew; a part that arrived stays. Signing is AWS Signature
Version 4 in the query (docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html); the library that signs whole files
for us knows no query of our own.
"""

import hashlib
import hmac
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import parse_qs, quote, urlsplit
from xml.etree import ElementTree

import httpx

from kriptik.spec.errors import ConflictError, KriptikError

ALGORITHM, UNSIGNED = "AWS4-HMAC-SHA256", "UNSIGNED-PAYLOAD"
SIGNED_S = 6 * 3600
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Signer:
    """Whose signature. `token`: of temporary keys."""

    key_id: str
    secret: str
    region: str
    token: str | None = None

    def sign(self, method: str, url: str, query: dict[str, str], now: datetime | None = None, expires_s: int = SIGNED_S) -> str:
        """The address with `query` and a signature that holds for `expires_s` seconds."""
        now = now or datetime.now(UTC)
        day, moment = f"{now:%Y%m%d}", f"{now:%Y%m%dT%H%M%SZ}"
        scope = f"{day}/{self.region}/s3/aws4_request"
        asked = {
            **query,
            "X-Amz-Algorithm": ALGORITHM,
            "X-Amz-Credential": f"{self.key_id}/{scope}",
            "X-Amz-Date": moment,
            "X-Amz-Expires": str(expires_s),
            "X-Amz-SignedHeaders": "host",
            **({"X-Amz-Security-Token": self.token} if self.token else {}),
        }
        parts = urlsplit(url)
        text = "&".join(f"{_quoted(name)}={_quoted(value)}" for name, value in sorted(asked.items()))
        canonical = "\n".join([method, parts.path or "/", text, f"host:{parts.netloc}\n", "host", UNSIGNED])
        to_sign = "\n".join([ALGORITHM, moment, scope, hashlib.sha256(canonical.encode()).hexdigest()])
        key = f"AWS4{self.secret}".encode()
        for word in (day, self.region, "s3", "aws4_request"):
            key = hmac.new(key, word.encode(), hashlib.sha256).digest()
        signature = hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()
        return f"{parts.scheme}://{parts.netloc}{parts.path}?{text}&X-Amz-Signature={signature}"


@dataclass(frozen=True)
class Begun:
    """An upload that was begun. `missing`: number of the part (from 1) → signed address; `part_bytes` each but the last."""

    part_bytes: int
    missing: dict[int, str]


class Uploads:
    """Uploads in parts of one bucket. `address`: of a key, signed for PUT by who knows how this bucket is addressed.

    Raises `KriptikError` 503 where the storage is away, 409 `not_whole` where parts are missing.
    """

    def __init__(self, address: Callable[[str], str]) -> None:
        self._address = address

    def begin(self, key: str, size: int, part_bytes: int) -> Begun:
        """Begins an upload, or goes on with the one that was begun: what arrived is not sent again."""
        upload = self._begun(key) or self._new(key)
        there = self._there(key, upload)
        count = -(-size // part_bytes)
        lengths = {n: min(part_bytes, size - (n - 1) * part_bytes) for n in range(1, count + 1)}
        url, signer = self._plain(key)
        missing = {n: signer.sign("PUT", url, {"partNumber": str(n), "uploadId": upload})
                   for n, length in lengths.items() if there.get(n, (0, ""))[0] != length}  # fmt: skip
        return Begun(part_bytes, missing)

    def join(self, key: str, size: int) -> None:
        """Makes the parts one file."""
        upload = self._begun(key)
        if upload is None:
            raise ConflictError("not_whole", "No upload of this file was begun.", "Ask again where it goes.")
        there = self._there(key, upload)
        if sum(length for length, _tag in there.values()) != size:
            raise ConflictError("not_whole", "Not all parts of this file have arrived.", "Ask again where it goes.")
        parts = "".join(f"<Part><PartNumber>{n}</PartNumber><ETag>{tag}</ETag></Part>" for n, (_l, tag) in sorted(there.items()))
        answer = self._call("POST", key, {"uploadId": upload}, f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>")
        if answer.tag == "Error":  # S3 may say 200 and then fail
            raise KriptikError("storage_away", "The storage could not join the parts.", "It is tried again.", status=503)

    def abort(self, prefix: str) -> int:
        """Gives up every upload under a prefix that was never joined, so that its parts cost nothing; returns how many."""
        found = self._all(prefix)
        for key, upload in found:
            self._call("DELETE", key, {"uploadId": upload})
        return len(found)

    def _new(self, key: str) -> str:
        return self._call("POST", key, {"uploads": ""}).findtext("UploadId") or ""

    def _begun(self, key: str) -> str | None:
        return next((upload for found, upload in self._all(key) if found == key), None)

    def _all(self, prefix: str) -> list[tuple[str, str]]:
        """(key, upload id), as keys of ours: what the store itself puts before every key is cut off."""
        url, _signer = self._plain("x")
        bucket, own = _split(url.removesuffix("x"))
        query = {"uploads": "", "prefix": own + prefix}
        found: list[tuple[str, str]] = []
        while True:
            answer = self._call("GET", prefix, query, url=bucket)
            for one in answer.findall("Upload"):
                found.append(((one.findtext("Key") or "").removeprefix(own), one.findtext("UploadId") or ""))
            if answer.findtext("IsTruncated") != "true":
                return found
            query |= {"key-marker": answer.findtext("NextKeyMarker") or "",
                      "upload-id-marker": answer.findtext("NextUploadIdMarker") or ""}  # fmt: skip

    def _there(self, key: str, upload: str) -> dict[int, tuple[int, str]]:
        """Number → (bytes, tag) of the parts that arrived."""
        query, found = {"uploadId": upload}, {}
        while True:
            answer = self._call("GET", key, query)
            for part in answer.findall("Part"):
                found[int(part.findtext("PartNumber") or 0)] = (int(part.findtext("Size") or 0), part.findtext("ETag") or "")
            if answer.findtext("IsTruncated") != "true":
                return found
            query |= {"part-number-marker": answer.findtext("NextPartNumberMarker") or ""}

    def _plain(self, key: str) -> tuple[str, Signer]:
        """The key's address without a signature, and who signs: whoever signed for the library, but with our own query."""
        signed = urlsplit(self._address(key))
        query = {name: values[0] for name, values in parse_qs(signed.query).items()}
        secret = os.environ.get("AWS_SECRET_ACCESS_KEY")
        if not secret:
            sentence = "Files as large as this go to the storage in parts, which needs keys that are set by AWS_*."
            raise KriptikError("storage_keys", sentence, "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.", status=422)
        key_id, _day, region, *_rest = query["X-Amz-Credential"].split("/")
        return f"{signed.scheme}://{signed.netloc}{signed.path}", Signer(key_id, secret, region, query.get("X-Amz-Security-Token"))

    def _call(self, method: str, key: str, query: dict[str, str], body: str = "", url: str | None = None) -> ElementTree.Element:
        plain, signer = self._plain(key)
        address = signer.sign(method, url or plain, query)
        try:
            answer = httpx.request(
                method, address, content=body, timeout=TIMEOUT_S, trust_env=urlsplit(address).hostname not in LOOPBACK
            )
        except httpx.HTTPError as error:
            raise _away(type(error).__name__) from error
        if answer.status_code >= 300:
            raise _away(f"{answer.status_code} {_code(answer)}")
        return _tree(answer.text) if answer.content.strip() else ElementTree.Element("Nothing")


def can_sign() -> bool:
    """Whether keys are set that sign for parts; without them none was ever begun."""
    return bool(os.environ.get("AWS_SECRET_ACCESS_KEY"))


def _split(before: str) -> tuple[str, str]:
    """The bucket's address and what the store puts before every key, of the address of an empty key."""
    parts = urlsplit(before)
    bucket_first = re.match(r"/[^/]+/", parts.path)  # addressed by path, as the library does unless told otherwise
    virtual = os.environ.get("AWS_VIRTUAL_HOSTED_STYLE_REQUEST", "").lower() == "true"
    root = "/" if virtual or bucket_first is None else bucket_first[0]
    return f"{parts.scheme}://{parts.netloc}{root.rstrip('/') or '/'}", parts.path[len(root) :]


def _tree(text: str) -> ElementTree.Element:
    """The answer without its name space, which not every service sends."""
    try:
        return ElementTree.fromstring(re.sub(r'\sxmlns="[^"]*"', "", text, count=1))
    except ElementTree.ParseError as error:
        raise _away("an answer that is no XML") from error


def _code(answer: httpx.Response) -> str:
    found = re.search(r"<Code>(\w+)</Code>", answer.text)
    return found[1] if found else ""


def _quoted(text: str) -> str:
    return quote(text, safe="-_.~")


def _away(what: str) -> KriptikError:
    sentence = f"The object storage does not answer as it should ({what})."
    return KriptikError("storage_away", sentence, "It is tried again.", status=503)
