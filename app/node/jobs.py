"""What happens to jobs in the ledger: made, started, ended. Every change may be made again."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, delete, select, update

from app.node.ledger import Ledger, insert_new, job_of, now
from app.node.records import ENDED, Collection, CollectionState, JobState, NodeJob, Priority
from app.node.settings import RouteRule
from app.node.tables import COLLECTIONS, JOBS, STEPS


def close_collection(
    ledger: Ledger,
    collection: Collection,
    because: str,
    rule: RouteRule | None,
    why: str,
    not_before: float,
) -> str | None:
    """Take a collection as complete and make the job that follows, in one transaction.

    Args:
        ledger: where.
        collection: as it was when it was found complete.
        because: what made it complete.
        rule: that decides what is done with it; None makes a job that is skipped.
        why: how that rule was found.
        not_before: earliest start of the job (seconds since 1970, UTC), or 0.

    Returns:
        id of the job; None where something has arrived since, or another machine was first.
    """
    if rule is None:
        values: dict[str, Any] = {"state": JobState.SKIPPED, "finished": now()}
    else:
        values = {
            "state": JobState.QUEUED,
            "rule": rule.name,
            "priority": rule.priority,
            "pipelines": list(rule.pipelines),
            "targets": list(rule.targets),
            "not_before": not_before,
        }
    identifier = _identifier(collection.key, str(collection.generation))
    with ledger.write() as connection:
        closed = connection.execute(
            update(COLLECTIONS)
            .where(
                COLLECTIONS.c.key == collection.key,
                COLLECTIONS.c.state == CollectionState.OPEN,
                COLLECTIONS.c.generation == collection.generation,
                COLLECTIONS.c.objects == collection.objects,
            )
            .values(state=CollectionState.COMPLETE, because=because)
        )
        if closed.rowcount != 1:
            return None
        _insert(connection, identifier, collection, values | {"why": why})
    return identifier


def order_job(
    ledger: Ledger,
    collection: Collection,
    *,
    pipelines: Sequence[str],
    targets: Sequence[str],
    priority: Priority,
    ordered_by: str,
    key: str,
) -> str:
    """Make a job that somebody ordered; the same ``key`` gives the same job.

    Returns:
        its id.
    """
    identifier = _identifier(collection.key, "ordered", key)
    values = {
        "state": JobState.QUEUED,
        "priority": priority,
        "pipelines": list(pipelines),
        "targets": list(targets),
        "ordered_by": ordered_by,
        "why": f"ordered by {ordered_by}",
    }
    with ledger.write() as connection:
        _insert(connection, identifier, collection, values)
    return identifier


def repeat_job(ledger: Ledger, job: NodeJob, collection: Collection, by: str) -> str:
    """Make a job that repeats ``job`` with everything that has arrived since; returns its id."""
    repeats = len(
        ledger.rows(select(JOBS.c.id).where(JOBS.c.rerun_of == job.id), lambda row: row.id)
    )
    identifier = _identifier(job.id, "repeated", str(repeats))
    values = {
        "state": JobState.QUEUED,
        "rule": job.rule,
        "priority": job.priority,
        "pipelines": list(job.pipelines),
        "targets": list(job.targets),
        "rerun_of": job.id,
        "ordered_by": by,
        "why": f"repeats job {job.id}",
    }
    with ledger.write() as connection:
        _insert(connection, identifier, collection, values)
    return identifier


def start_job(ledger: Ledger, identifier: str, machine: str) -> NodeJob | None:
    """Note that a job starts, once more; None where it has ended or is not known."""
    moment = now()
    with ledger.write() as connection:
        connection.execute(
            update(JOBS)
            .where(JOBS.c.id == identifier, JOBS.c.state.not_in(ENDED))
            .values(
                state=JobState.RUNNING,
                attempt=JOBS.c.attempt + 1,
                started=moment,
                changed=moment,
                machine=machine,
            )
        )
        row = connection.execute(select(JOBS).where(JOBS.c.id == identifier)).one_or_none()
    job = None if row is None else job_of(row)
    return None if job is None or job.state in ENDED else job


def set_result(
    ledger: Ledger, identifier: str, folder: str, status: str, models: dict[str, str]
) -> None:
    """Note what came of a run."""
    with ledger.write() as connection:
        connection.execute(
            update(JOBS)
            .where(JOBS.c.id == identifier)
            .values(result_folder=folder, result_status=status, models=models)
        )


def set_state(ledger: Ledger, identifier: str, state: JobState, failure: str = "") -> bool:
    """Bring a job into a state; one that has ended is left alone. Whether it was changed."""
    moment = now()
    values: dict[str, Any] = {"state": state, "changed": moment, "failure": failure}
    if state in ENDED:
        values["finished"] = moment
    with ledger.write() as connection:
        changed = connection.execute(
            update(JOBS)
            .where(JOBS.c.id == identifier, JOBS.c.state.not_in(ENDED), JOBS.c.state != state)
            .values(values)
        )
    return changed.rowcount == 1


def reopen(ledger: Ledger, identifier: str) -> None:
    """Let a job that has ended be delivered again."""
    with ledger.write() as connection:
        connection.execute(
            update(JOBS)
            .where(JOBS.c.id == identifier, JOBS.c.state.in_((JobState.DONE, JobState.FAILED)))
            .values(state=JobState.DELIVERING, changed=now(), finished=0.0, failure="")
        )


def ask_to_cancel(ledger: Ledger, identifier: str) -> None:
    """Note that somebody wants a job to be cancelled."""
    with ledger.write() as connection:
        connection.execute(update(JOBS).where(JOBS.c.id == identifier).values(cancel=True))


def cancel_asked(ledger: Ledger, identifier: str) -> bool:
    """Whether somebody wants a job to be cancelled."""
    asked = ledger.rows(select(JOBS.c.cancel).where(JOBS.c.id == identifier), lambda row: row[0])
    return any(asked)


def begin_step(ledger: Ledger, job: str, attempt: int, name: str) -> None:
    """Note that a step begins."""
    row = {"job": job, "attempt": attempt, "name": name, "started": now()}
    with ledger.write() as connection:
        connection.execute(
            delete(STEPS).where(
                STEPS.c.job == job, STEPS.c.attempt == attempt, STEPS.c.name == name
            )
        )
        insert_new(connection, STEPS, [row])


def end_step(ledger: Ledger, job: str, attempt: int, name: str, detail: str = "") -> None:
    """Note that a step has ended."""
    with ledger.write() as connection:
        connection.execute(
            update(STEPS)
            .where(STEPS.c.job == job, STEPS.c.attempt == attempt, STEPS.c.name == name)
            .values(finished=now(), detail=detail)
        )


def _insert(
    connection: Connection, identifier: str, collection: Collection, values: dict[str, Any]
) -> None:
    moment = now()
    row = {
        "id": identifier,
        "collection": collection.key,
        "generation": collection.generation,
        "study_instance_uid": collection.study_instance_uid,
        "series_instance_uid": collection.series_instance_uid,
        "accession_number": collection.accession_number,
        "priority": Priority.NORMAL,
        "pipelines": [],
        "targets": [],
        "objects": collection.objects,
        "created": moment,
        "changed": moment,
        "models": {},
    }
    insert_new(connection, JOBS, [row | values])


def _identifier(*parts: str) -> str:
    """Sixteen hexadecimal digits; UIDs are hashed, so that it may stand in logs."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
