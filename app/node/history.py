"""What the page and the interfaces ask the ledger; nothing here writes."""

from __future__ import annotations

from collections.abc import Collection as Some
from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, func, or_, select

from app.node.ledger import Ledger, collection_of, delivery_of, job_of
from app.node.records import (
    Collection,
    CollectionState,
    Delivery,
    DeliveryState,
    JobState,
    Machine,
    NodeJob,
    Series,
    Step,
    StoredObject,
)
from app.node.tables import (
    COLLECTIONS,
    DELIVERIES,
    JOBS,
    MACHINES,
    OBJECTS,
    SERIES,
    STEPS,
)

_WAITING = (JobState.QUEUED, JobState.RUNNING, JobState.DELIVERING)


@dataclass(frozen=True)
class TargetSummary:
    """What one target got, and what it still waits for."""

    name: str
    waiting: int
    delivered: int
    failed: int
    next_try: float
    reason: str


def receiving(ledger: Ledger, limit: int = 200) -> list[Collection]:
    """Collections of which more is awaited, the latest arrival first."""
    return ledger.rows(
        select(COLLECTIONS)
        .where(COLLECTIONS.c.state == CollectionState.OPEN)
        .order_by(COLLECTIONS.c.last_received.desc())
        .limit(limit),
        collection_of,
    )


def collection(ledger: Ledger, key: str) -> Collection | None:
    """The collection with this key."""
    found = ledger.rows(select(COLLECTIONS).where(COLLECTIONS.c.key == key), collection_of)
    return next(iter(found), None)


def queue(ledger: Ledger, limit: int = 200) -> list[NodeJob]:
    """Jobs that are not finished, in the order in which they were created."""
    return ledger.rows(
        select(JOBS).where(JOBS.c.state.in_(_WAITING)).order_by(JOBS.c.created).limit(limit),
        job_of,
    )


def jobs(
    ledger: Ledger,
    *,
    states: Some[JobState] = (),
    before: tuple[float, str] | None = None,
    search: str = "",
    limit: int = 50,
) -> list[NodeJob]:
    """Jobs, the newest first.

    Args:
        ledger: where they are.
        states: only those in one of these; all without.
        before: ``(created, id)`` of the last job of the page before.
        search: an Accession Number, a UID of study, series or object, or the beginning of a
            job's id.
        limit: most jobs to give.
    """
    query = select(JOBS)
    if states:
        query = query.where(JOBS.c.state.in_(states))
    if before is not None:
        created, identifier = before
        query = query.where(
            or_(
                JOBS.c.created < created,
                and_(JOBS.c.created == created, JOBS.c.id < identifier),
            )
        )
    if search:
        query = query.where(_found_by(search))
    query = query.order_by(JOBS.c.created.desc(), JOBS.c.id.desc()).limit(limit)
    return ledger.rows(query, job_of)


def job(ledger: Ledger, identifier: str) -> NodeJob | None:
    """The job with this id."""
    return next(iter(ledger.rows(select(JOBS).where(JOBS.c.id == identifier), job_of)), None)


def changed_since(ledger: Ledger, moment: float, limit: int = 1000) -> list[NodeJob]:
    """Jobs whose state changed at ``moment`` or later, the earliest change first."""
    return ledger.rows(
        select(JOBS).where(JOBS.c.changed >= moment).order_by(JOBS.c.changed).limit(limit),
        job_of,
    )


def steps(ledger: Ledger, job: str) -> list[Step]:
    """Steps of a job, those of every attempt, in order."""
    return ledger.rows(
        select(STEPS).where(STEPS.c.job == job).order_by(STEPS.c.attempt, STEPS.c.started),
        lambda row: Step(**row._mapping),
    )


def deliveries(ledger: Ledger, job: str) -> list[Delivery]:
    """What of a job goes to which target, and how far it has come."""
    return ledger.rows(
        select(DELIVERIES)
        .where(DELIVERIES.c.job == job)
        .order_by(DELIVERIES.c.target, DELIVERIES.c.path),
        delivery_of,
    )


def series(ledger: Ledger, study_instance_uid: str) -> list[Series]:
    """Received series of a study, by Series Number."""
    return ledger.rows(
        select(SERIES)
        .where(SERIES.c.study_instance_uid == study_instance_uid)
        .order_by(SERIES.c.number, SERIES.c.series_instance_uid),
        lambda row: Series(**row._mapping),
    )


def objects(ledger: Ledger, key: str, generation: int) -> list[StoredObject]:
    """The objects that a job of ``generation`` of the collection ``key`` takes."""
    return ledger.rows(
        select(OBJECTS)
        .where(OBJECTS.c.collection == key, OBJECTS.c.generation <= generation)
        .order_by(OBJECTS.c.path),
        lambda row: StoredObject(**row._mapping),
    )


def object_counts(ledger: Ledger, key: str) -> dict[str, int]:
    """Objects received of each series of a collection."""
    query = (
        select(OBJECTS.c.series_instance_uid, func.count())
        .where(OBJECTS.c.collection == key)
        .group_by(OBJECTS.c.series_instance_uid)
    )
    with ledger.read() as connection:
        return {str(row[0]): int(row[1]) for row in connection.execute(query)}


def job_counts(ledger: Ledger) -> dict[JobState, int]:
    """Number of jobs in each state."""
    with ledger.read() as connection:
        rows = connection.execute(select(JOBS.c.state, func.count()).group_by(JOBS.c.state))
        counts = {JobState(state): count for state, count in rows}
    return {state: counts.get(state, 0) for state in JobState}


def targets(ledger: Ledger) -> list[TargetSummary]:
    """Every target that was ever delivered to, by name."""
    counted = select(DELIVERIES.c.target, DELIVERIES.c.state, func.count()).group_by(
        DELIVERIES.c.target, DELIVERIES.c.state
    )
    late = (
        select(DELIVERIES.c.target, func.min(DELIVERIES.c.next_try), func.max(DELIVERIES.c.reason))
        .where(DELIVERIES.c.state == DeliveryState.WAITING)
        .group_by(DELIVERIES.c.target)
    )
    numbers: dict[str, dict[str, int]] = {}
    with ledger.read() as connection:
        for target, state, count in connection.execute(counted):
            numbers.setdefault(target, {})[state] = count
        waiting = {row[0]: (float(row[1]), str(row[2])) for row in connection.execute(late)}
    return [
        TargetSummary(
            name=name,
            waiting=states.get(DeliveryState.WAITING, 0),
            delivered=states.get(DeliveryState.DELIVERED, 0)
            + states.get(DeliveryState.COMMITTED, 0),
            failed=states.get(DeliveryState.FAILED, 0),
            next_try=waiting.get(name, (0.0, ""))[0],
            reason=waiting.get(name, (0.0, ""))[1],
        )
        for name, states in sorted(numbers.items())
    ]


def machines(ledger: Ledger) -> list[Machine]:
    """Node processes that share the ledger, by name."""
    return ledger.rows(
        select(MACHINES).order_by(MACHINES.c.name), lambda row: Machine(**row._mapping)
    )


def _found_by(text: str) -> ColumnElement[bool]:
    text = text.strip()
    by_object = select(OBJECTS.c.collection).where(
        or_(OBJECTS.c.sop_instance_uid == text, OBJECTS.c.series_instance_uid == text)
    )
    by_result = select(DELIVERIES.c.job).where(DELIVERIES.c.sop_instance_uid == text)
    return or_(
        JOBS.c.accession_number == text,
        JOBS.c.study_instance_uid == text,
        JOBS.c.series_instance_uid == text,
        JOBS.c.id.startswith(text, autoescape=True),
        JOBS.c.collection.in_(by_object),
        JOBS.c.id.in_(by_result),
    )
