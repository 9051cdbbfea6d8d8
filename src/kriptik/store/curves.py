"""Curves of runs: the newest points are event rows, older ones are packed too, so that a million of them are read at once.

A chunk holds of each of `BLOCK` points what choosing among them needs (`POINT`, 19 bytes); the event rows stay, and the chosen few
are read from there whole. `pack` may be killed anywhere and called again.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Text, cast, func, select
from sqlalchemy.orm import Session

from kriptik.store.db import Database
from kriptik.store.tables import CurveChunk, EventRow

BLOCK = 2048
READ = 500
POINT = np.dtype([("id", "<u4"), ("generation", "<u2"), ("stage", "u1"), ("step", "<u4"), ("loss", "<f4"), ("gradient", "<f4")])
"""What a chunk keeps of a point, in this order and without gaps. A value that is no number is kept as 0."""
Points = NDArray[Any]


def pack(db: Database, stream_id: str, most: int = 50) -> int:
    """Packs whole blocks of points that are only rows yet, at most `most` of them; returns how many."""
    done = 0
    while done < most:
        with db.read() as session:
            block = _rows(session, stream_id, _packed_to(session, stream_id), 0, None, BLOCK)
        if len(block) < BLOCK:
            return done
        with db.write() as session:
            if _packed_to(session, stream_id) < int(block["id"][0]):
                session.add(CurveChunk(
                    stream_id=stream_id, first_id=int(block["id"][0]), last_id=int(block["id"][-1]),
                    least_step=int(block["step"].min()), most_step=int(block["step"].max()), points=block.tobytes(),
                ))  # fmt: skip
        done += 1
    return done


def points(session: Session, stream_id: str, from_step: int = 0, to_step: int | None = None) -> Points:
    """Every point between two steps, in order of training: of each (stage, step) the newest generation's."""
    query = select(CurveChunk.points).where(CurveChunk.stream_id == stream_id, CurveChunk.most_step >= from_step)
    if to_step is not None:
        query = query.where(CurveChunk.least_step <= to_step)
    parts = [np.frombuffer(blob, POINT) for blob in session.scalars(query.order_by(CurveChunk.first_id))]
    parts.append(_rows(session, stream_id, _packed_to(session, stream_id), from_step, to_step, None))
    found = np.concatenate(parts)
    inside = found["step"] >= from_step
    if to_step is not None:
        inside &= found["step"] <= to_step
    return _newest(found if inside.all() else found[inside])


def whole(session: Session, stream_id: str, ids: list[int]) -> list[str]:
    """These points as JSON objects, in the order of `ids`, with the generation that made each and when."""
    found: dict[int, str] = {}
    for start in range(0, len(ids), READ):
        query = select(EventRow.id, EventRow.generation, EventRow.at, cast(EventRow.body, Text)).where(
            EventRow.stream_id == stream_id, EventRow.id.in_(ids[start : start + READ])
        )
        for event_id, generation, at, body in session.execute(query):
            found[event_id] = f'{body.rstrip()[:-1]}, "generation": {generation}, "at": "{at.isoformat()}"}}'
    return [found[event_id] for event_id in ids if event_id in found]


def _packed_to(session: Session, stream_id: str) -> int:
    return session.scalar(select(func.max(CurveChunk.last_id)).where(CurveChunk.stream_id == stream_id)) or 0


def _rows(session: Session, stream_id: str, after: int, from_step: int, to_step: int | None, limit: int | None) -> Points:
    numbers = (EventRow.body["loss"].as_float(), EventRow.body["gradientNorm"].as_float())
    query = select(EventRow.id, EventRow.generation, EventRow.stage, EventRow.step, *numbers).where(
        EventRow.stream_id == stream_id, EventRow.type == "metrics", EventRow.id > after, EventRow.step >= from_step
    )
    if to_step is not None:
        query = query.where(EventRow.step <= to_step)
    rows = session.execute(query.order_by(EventRow.id).limit(limit)).all()
    return np.array([(i, g, s, n, loss or 0.0, norm or 0.0) for i, g, s, n, loss, norm in rows], POINT)


def _newest(found: Points) -> Points:
    """Where a later generation made a step again, its point alone; in order of training. Mostly there is nothing to do."""
    place = (found["stage"].astype(np.int64) << 32) | found["step"]
    if len(found) < 2 or bool((np.diff(place) > 0).all()):
        return found
    order = np.lexsort((found["id"], found["generation"], place))
    place = place[order]
    last = np.append(place[1:] != place[:-1], True)
    return found[order[last]]
