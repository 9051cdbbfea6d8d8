"""Which run a command means."""

from kriptik.cli.client import Client
from kriptik.spec.errors import KriptikError


def job_id(client: Client, job: str) -> str:
    """The id behind a run id or 'last'. Raises KriptikError where there is no run."""
    if job != "last":
        return job
    answer = client.get("/jobs")
    jobs = answer["jobs"] if isinstance(answer, dict) else answer
    if not jobs:
        raise KriptikError("no_runs", "There is no run yet.", 'Start one with `kriptik train "…" --budget 1`.')
    return max(jobs, key=lambda row: row["createdAt"])["id"]
