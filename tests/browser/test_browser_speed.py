"""How heavy and how quick the page is: first load, largest paint, four charts over 100,000 steps while ten events a second come."""

import gzip
import math
import random
from pathlib import Path

import pytest
from harness import until
from sqlalchemy import insert

import kriptik
from kriptik.spec.base import utc_now
from kriptik.store import events
from kriptik.store.tables import EventRow

STATIC = Path(kriptik.__file__).parent / "static"
FIRST_LOAD_KB = 200
LCP_MS = 1000
STEPS = 100_000
WATCH_MS = 10_000
LEAST_FPS = 50
FRAMES = """ms => new Promise((done) => {
  const times = [];
  const tick = (now) => {
    times.push(now);
    if (now - times[0] < ms) requestAnimationFrame(tick);
    else {
      const gaps = times.slice(1).map((time, at) => time - times[at]).sort((a, b) => a - b);
      done({fps: gaps.length / ((times.at(-1) - times[0]) / 1000), p95: gaps[Math.floor(gaps.length * 0.95)], worst: gaps.at(-1)});
    }
  };
  requestAnimationFrame(tick);
})"""


def test_the_first_page_is_light(visit, server):
    visitor = visit(server)
    loaded = set()
    visitor.page.on("response", lambda r: loaded.add(r.url.split("/assets/")[1]) if "/assets/" in r.url else None)
    visitor.open("/")
    visitor.page.get_by_role("heading", name="Recent runs").wait_for()
    visitor.page.wait_for_load_state("networkidle")
    scripts = [name for name in loaded if name.endswith(".js")]
    weight = sum(len(gzip.compress((STATIC / "assets" / name).read_bytes())) for name in scripts) / 1000
    print(f"\nfirst load: {weight:.0f} kB of JavaScript, gzip, in {len(scripts)} files")
    assert scripts and weight <= FIRST_LOAD_KB, f"{weight:.0f} kB of JavaScript on the first page"


def test_the_first_page_is_soon_there(visit, server):
    """The best of three cold windows: the page's own speed, not that of whatever else the machine does."""
    painted = []
    for _ in range(3):
        visitor = visit(server)
        visitor.open("/")
        visitor.page.get_by_role("heading", name="Recent runs").wait_for()
        visitor.page.wait_for_load_state("networkidle")
        painted.append(
            visitor.page.evaluate(
                """() => new Promise((done) => new PerformanceObserver((list) => done(list.getEntries().at(-1).startTime))
                     .observe({type: "largest-contentful-paint", buffered: true}))"""
            )
        )
        visitor.context.close()
    print("\nlargest paint:", ", ".join(f"{ms:.0f} ms" for ms in painted))
    assert min(painted) < LCP_MS


@pytest.mark.slow
def test_charts_of_a_long_run_stay_smooth(visit, server):
    job_id = server.train(2 * STEPS, "50", {"stepS": 0.095, "offset": STEPS})
    add_history(server, job_id)
    visitor = visit(server)
    page = visitor.page
    visitor.open(f"/jobs/{job_id}")
    page.get_by_role("region", name="Loss").wait_for()
    page.get_by_role("region", name="Loss").scroll_into_view_if_needed()
    until(lambda: server.job(job_id)["metrics"]["step"] > STEPS + 20)
    history = server.api("GET", f"/jobs/{job_id}/metrics")
    assert history["total"] >= STEPS and len(history["points"]) <= 2000
    before = server.job(job_id)["lastEventId"]
    frames = page.evaluate(FRAMES, WATCH_MS)
    came = server.job(job_id)["lastEventId"] - before
    print(f"\n{frames['fps']:.1f} fps, frame p95 {frames['p95']:.0f} ms, worst {frames['worst']:.0f} ms; {came} events in 10 s")
    server.api("POST", f"/jobs/{job_id}/stop")
    server.wait(job_id, "stopped")
    assert came >= 100
    assert frames["fps"] >= LEAST_FPS


def add_history(server, job_id):
    """The curves of the steps before: one event per step, stored as a worker's are."""
    draw = random.Random(0)

    def row(event_id, step):
        body = {
            "type": "metrics", "stage": 0, "step": step, "totalSteps": 2 * STEPS, "epoch": step / STEPS, "totalEpochs": 2.0,
            "loss": 1 + 2 * math.exp(-step / 20_000) + draw.uniform(-0.1, 0.1), "learningRate": 1e-4 * (1 - step / (3 * STEPS)),
            "gradientNorm": 1 + draw.uniform(-0.3, 0.3), "tokens": 640, "tokensPerSecond": 2100.0, "samplesProcessed": step * 8,
            "totalSamples": STEPS * 16, "elapsedS": step * 0.1, "cpuUtilization": 90 + draw.uniform(-5, 5), "ramUsedGb": 1.4,
        }  # fmt: skip
        known = {"stream_id": job_id, "id": event_id, "generation": 0, "seq": event_id, "at": utc_now()}
        return {**known, "type": "metrics", "severity": None, "stage": 0, "step": step, "body": body}

    with server.core.db.write() as session:
        first = events._reserve_ids(session, job_id, STEPS)
        session.execute(insert(EventRow), [row(first + n, n + 1) for n in range(STEPS)])
