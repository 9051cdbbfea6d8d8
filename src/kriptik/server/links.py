"""The signed, time-limited resume link: names a run and a nonce, shows without changing, acts once."""

import secrets
from datetime import datetime

from itsdangerous import BadSignature, SignatureExpired, URLSafeTimedSerializer

from kriptik.server.core import Core
from kriptik.spec.errors import KriptikError
from kriptik.store.tables import Job

SALT = "resume-v1"


def make_resume_link(core: Core, job: Job, _now: datetime) -> str:
    """A new link for this freeze; older ones stop working. Path of the web page, with its token."""
    job.link_nonce = secrets.token_hex(12)
    token = _serializer(core).dumps({"job": job.id, "nonce": job.link_nonce})
    return f"/resume/{job.id}?token={token}"


def check_resume_token(core: Core, job: Job | None, job_id: str, token: str) -> Job:
    """The run a token opens; 403 if it is not genuine, 410 if it is too old or was used."""
    try:
        named = _serializer(core).loads(token, max_age=int(core.settings.resume_link_hours * 3600))
    except SignatureExpired as error:
        raise _dead("This link is too old.") from error
    except BadSignature as error:
        raise KriptikError("bad_link", "This link is not genuine.", "Use the link of the freeze notice.", status=403) from error
    if named.get("job") != job_id or job is None:
        raise KriptikError("bad_link", "This link is not for this run.", "Use the link of the freeze notice.", status=403)
    if job.link_nonce is None or named.get("nonce") != job.link_nonce:
        raise _dead("This link was used already, or the run has gone on since.")
    return job


def _serializer(core: Core) -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(core.secret.hex(), salt=SALT)


def _dead(sentence: str) -> KriptikError:
    return KriptikError("link_expired", sentence, "Open the run's page and resume it there.", status=410)
