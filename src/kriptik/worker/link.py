"""The worker's one way out: three calls over HTTP, gzip, the generation's token. It never retries; `outbox` and `control` do."""

import gzip
import json
from collections.abc import Callable
from typing import Any, BinaryIO, NoReturn, TypeVar
from urllib.parse import urlsplit

import httpx
from pydantic import ValidationError

from kriptik.spec.base import Noun
from kriptik.spec.carry import Handout, Places, Upload, UploadAsk
from kriptik.spec.events import DesiredAck, Lease

N = TypeVar("N", bound=Noun)

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


class AwayError(Exception):
    """No answer, or none that means anything yet: try again later."""


class FencedError(Exception):
    """This generation may not speak any more: a newer one has taken over, or its token is not known."""


class RefusedError(Exception):
    """The server understood and refuses this very request; sending it again will not help. `status` is HTTP's."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status} {text[:300]}")
        self.status = status


class Link:
    """Calls on behalf of one generation. `heard(lease, sent_at)` and `missed()` are told of every call's outcome.

    401 counts as fenced only when it came `MOST_401` times in a row: a server that is starting up may not know us yet.
    """

    MOST_401 = 5

    def __init__(
        self,
        server_url: str,
        job_id: str,
        generation: int,
        token: str,
        clock: Callable[[], float],
        heard: Callable[[Lease, float], None] = lambda lease, sent_at: None,
        missed: Callable[[], None] = lambda: None,
        timeout_s: float = 20.0,
    ) -> None:
        self._clock, self._heard, self._missed, self._timeout = clock, heard, missed, timeout_s
        self._unknown = 0
        self.trust_env = urlsplit(server_url).hostname not in LOOPBACK
        self._http = httpx.Client(
            base_url=f"{server_url.rstrip('/')}/api/worker/v1/jobs/{job_id}/generations/{generation}",
            headers={"Authorization": f"Bearer {token}"},
            trust_env=self.trust_env,
            timeout=httpx.Timeout(timeout_s, connect=min(5.0, timeout_s)),
        )

    def post_events(self, lines: list[bytes]) -> Lease:
        """Sends consecutive events, each a JSON line of the spool."""
        body = gzip.compress(b'{"events":[' + b",".join(lines) + b"]}", 5)
        return self._call("POST", "/events", body, {"Content-Type": "application/json", "Content-Encoding": "gzip"})

    def desired(self, since: int, wait_s: float) -> Lease:
        """What is wanted; with `wait_s` the server holds its answer until that is newer than `since`."""
        return self._call("GET", f"/desired?since={since}&wait={wait_s:g}", wait_s=wait_s)

    def ack(self, done: DesiredAck) -> Lease:
        """Says that a wanted state was carried out."""
        return self._call("POST", "/desired/ack", json.dumps(done.wire()).encode(), {"Content-Type": "application/json"})

    def handout(self) -> Handout:
        """What is to be fetched before the work begins."""
        return self._noun(Handout, "GET", "/files")

    def ask_to_put(self, ask: UploadAsk) -> Places:
        """Where files go."""
        return self._noun(Places, "POST", "/files", json=ask.wire())

    def join(self, upload: Upload) -> None:
        """All parts of this file are in the storage."""
        self._plain("POST", "/files/join", json=upload.wire())

    def put_file(self, upload: Upload, body: BinaryIO) -> None:
        """Sends one file by the server."""
        headers = {"X-Content-SHA256": upload.sha256, "Content-Length": str(upload.bytes)}
        self._plain("PUT", f"/files/{upload.path}", content=body, headers=headers)

    def get_file(self, path: str, sink: BinaryIO) -> None:
        """Fetches one file by the server."""
        try:
            with self._http.stream("GET", f"/files/{path}") as answer:
                if answer.status_code != 200:
                    answer.read()
                    self._check(answer)
                for chunk in answer.iter_bytes(1 << 20):
                    sink.write(chunk)
        except (httpx.HTTPError, httpx.StreamError) as error:
            self._missed()
            raise AwayError(type(error).__name__) from error

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def _call(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None, wait_s: float = 0
    ) -> Lease:
        sent_at = self._clock()
        try:
            timeout = httpx.Timeout(self._timeout + wait_s, connect=min(5.0, self._timeout))
            answer = self._http.request(method, path, content=body, headers=headers, timeout=timeout)
            lease = self._read(answer)
        except (httpx.HTTPError, httpx.StreamError, AwayError) as error:
            self._missed()
            raise AwayError(str(error) or type(error).__name__) from error
        self._unknown = 0
        self._heard(lease, sent_at)
        return lease

    def _noun(self, kind: type[N], method: str, path: str, **options: Any) -> N:
        answer = self._plain(method, path, **options)
        try:
            return kind.model_validate_json(answer.content)
        except ValidationError as error:
            raise AwayError("the answer has another form") from error

    def _plain(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            answer = self._http.request(method, path, **options)
        except (httpx.HTTPError, httpx.StreamError) as error:
            self._missed()
            raise AwayError(type(error).__name__) from error
        if answer.status_code >= 300:
            self._check(answer)
        return answer

    def _read(self, answer: httpx.Response) -> Lease:
        status = answer.status_code
        if status == 200:
            try:
                return Lease.model_validate_json(answer.content)
            except ValidationError as error:  # a proxy's page, or half an answer
                raise AwayError("the answer is no lease") from error
        self._check(answer)
        raise AssertionError("an answer that is no lease was let pass")

    def _check(self, answer: httpx.Response) -> NoReturn:
        """What an answer that is no success means."""
        status = answer.status_code
        if status == 409 and _code(answer) == "stale_generation":
            raise FencedError("a newer generation has taken over")
        if status == 401:
            self._unknown += 1
            if self._unknown >= self.MOST_401:
                raise FencedError("the server does not know this worker's token")
        if status in (400, 413, 422):
            raise RefusedError(status, answer.text)
        raise AwayError(f"status {status}")


def _code(answer: httpx.Response) -> Any:
    try:
        return answer.json().get("code")
    except (ValueError, AttributeError):
        return None
