"""What happens to deliveries in the ledger: planned, tried, ended."""

from __future__ import annotations

from collections.abc import Collection as Some
from typing import Any

from sqlalchemy import func, select, update

from app.node.ledger import Ledger, delivery_of, insert_new, now
from app.node.records import Delivery, DeliveryState
from app.node.tables import DELIVERIES
from app.result_file import ResultFile

_ARRIVED = (DeliveryState.DELIVERED, DeliveryState.COMMITTED)


def plan_deliveries(
    ledger: Ledger, job: str, folder: str, result: ResultFile, targets: Some[str]
) -> int:
    """Note every object of a result for every target.

    An object that the target has got already, under the same SOP Instance UID from an earlier
    job, is not sent again.

    Args:
        ledger: where.
        job: that made the result.
        folder: of the result, relative to the folder of results.
        result: names the objects.
        targets: names.

    Returns:
        how many are still to be sent.
    """
    objects = [output for output in result.outputs if output.sop_instance_uid]
    uids = [output.sop_instance_uid for output in objects]
    with ledger.write() as connection:
        there = {
            (row.sop_instance_uid, row.target): row
            for row in connection.execute(
                select(DELIVERIES).where(
                    DELIVERIES.c.sop_instance_uid.in_(uids),
                    DELIVERIES.c.job != job,
                    DELIVERIES.c.state.in_(_ARRIVED),
                )
            )
        }
        rows: list[dict[str, Any]] = []
        for target in targets:
            for output in objects:
                before = there.get((output.sop_instance_uid, target))
                row: dict[str, Any] = {
                    "job": job,
                    "target": target,
                    "sop_instance_uid": output.sop_instance_uid,
                    "sop_class_uid": output.sop_class_uid,
                    "kind": output.kind,
                    "path": f"{folder}/{output.path}",
                    "state": DeliveryState.WAITING,
                    "reason": "",
                }
                if before is not None:
                    row |= {
                        "state": before.state,
                        "reason": f"the target has it since job {before.job}",
                    }
                rows.append(row)
        insert_new(connection, DELIVERIES, rows)
        return _open_count(connection, job)


def waiting(ledger: Ledger, job: str, target: str) -> list[Delivery]:
    """What of a job the target has not got, in the order in which it is sent."""
    return ledger.rows(
        select(DELIVERIES)
        .where(
            DELIVERIES.c.job == job,
            DELIVERIES.c.target == target,
            DELIVERIES.c.state == DeliveryState.WAITING,
        )
        .order_by(DELIVERIES.c.path),
        delivery_of,
    )


def note_try(
    ledger: Ledger,
    delivery: Delivery,
    state: DeliveryState,
    reason: str = "",
    next_try: float = 0.0,
) -> None:
    """Note what came of one try."""
    moment = now()
    with ledger.write() as connection:
        connection.execute(
            update(DELIVERIES)
            .where(*_is(delivery))
            .values(
                state=state,
                attempts=DELIVERIES.c.attempts + 1,
                first_try=delivery.first_try or moment,
                last_try=moment,
                next_try=next_try,
                reason=reason,
            )
        )


def send_again(ledger: Ledger, job: str, target: str | None = None) -> set[str]:
    """Let every object of a job be sent again; returns the names of the targets concerned."""
    where = [DELIVERIES.c.job == job]
    if target is not None:
        where.append(DELIVERIES.c.target == target)
    with ledger.write() as connection:
        targets = set(connection.execute(select(DELIVERIES.c.target).where(*where)).scalars())
        connection.execute(
            update(DELIVERIES)
            .where(*where)
            .values(state=DeliveryState.WAITING, attempts=0, first_try=0.0, next_try=0.0, reason="")
        )
    return targets


def open_count(ledger: Ledger, job: str) -> int:
    """Objects of a job that still have to be sent somewhere."""
    with ledger.read() as connection:
        return _open_count(connection, job)


def failures(ledger: Ledger, job: str) -> list[Delivery]:
    """What of a job could not be delivered."""
    return ledger.rows(
        select(DELIVERIES)
        .where(DELIVERIES.c.job == job, DELIVERIES.c.state == DeliveryState.FAILED)
        .order_by(DELIVERIES.c.target, DELIVERIES.c.path),
        delivery_of,
    )


def _open_count(connection: Any, job: str) -> int:
    return int(
        connection.execute(
            select(func.count()).where(
                DELIVERIES.c.job == job, DELIVERIES.c.state == DeliveryState.WAITING
            )
        ).scalar_one()
    )


def _is(delivery: Delivery) -> tuple[Any, ...]:
    return (
        DELIVERIES.c.job == delivery.job,
        DELIVERIES.c.target == delivery.target,
        DELIVERIES.c.sop_instance_uid == delivery.sop_instance_uid,
    )
