"""What people and other systems may ask of the node."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from sqlalchemy import select, update

from app.node import deliveries, history, jobs
from app.node.ledger import Ledger, collection_of
from app.node.records import (
    ENDED,
    Collection,
    CollectionState,
    JobState,
    NodeJob,
    Priority,
)
from app.node.tables import COLLECTIONS
from app.node.workflows import NodeWorkflows


class CommandError(ValueError):
    """What was asked for cannot be done; the message says why."""


class Commands:
    """Cancel, run again, send again, take as complete, order.

    Args:
        ledger: where everything stands.
        workflows: run what follows.
        wake: says that a collection may be complete.
    """

    def __init__(self, ledger: Ledger, workflows: NodeWorkflows, wake: Callable[[], None]) -> None:
        self._ledger = ledger
        self._workflows = workflows
        self._wake = wake

    def cancel(self, job: str) -> None:
        """Cancel a job that has not ended; a running worker is ended within seconds.

        Raises:
            CommandError: there is no such job, or it has ended, or its results are on their way.
        """
        found = self._job(job)
        if found.state in (*ENDED, JobState.DELIVERING):
            raise CommandError(f"job {job} is {found.state} and cannot be cancelled")
        jobs.ask_to_cancel(self._ledger, job)
        if found.state is JobState.QUEUED:
            jobs.set_state(self._ledger, job, JobState.CANCELLED)

    def rerun(self, job: str, by: str = "") -> str:
        """Run a job again, with all that has arrived since, and the networks of today.

        Returns:
            id of the new job.

        Raises:
            CommandError: there is no such job, or its objects are gone.
        """
        found = self._job(job)
        if found.state not in ENDED:
            raise CommandError(f"job {job} is {found.state}; wait for its end, or cancel it")
        collection = self._present(found.collection)
        identifier = jobs.repeat_job(self._ledger, found, collection, by)
        self._workflows.enqueue_job(self._job(identifier))
        return identifier

    def resend(self, job: str, target: str | None = None) -> None:
        """Send the results of a job again: to one target, or to each that it had.

        Raises:
            CommandError: there is no such job, or it has nothing for that target.
        """
        found = self._job(job)
        if found.state not in (JobState.DONE, JobState.FAILED, JobState.DELIVERING):
            raise CommandError(f"job {job} is {found.state} and has no results to send")
        targets = deliveries.send_again(self._ledger, job, target)
        if not targets:
            raise CommandError(f"job {job} has no results for {target or 'any target'}")
        jobs.reopen(self._ledger, job)
        for name in sorted(targets):
            self._workflows.enqueue_delivery(job, name, f"again-{time.time_ns()}")

    def complete_now(self, collection: str) -> None:
        """Take a collection as complete without waiting any longer.

        Raises:
            CommandError: nothing is waited for under this key.
        """
        with self._ledger.write() as connection:
            forced = connection.execute(
                update(COLLECTIONS)
                .where(
                    COLLECTIONS.c.key == collection,
                    COLLECTIONS.c.state == CollectionState.OPEN,
                )
                .values(forced=True)
            )
        if forced.rowcount != 1:
            raise CommandError("nothing is waited for there")
        self._wake()

    def order(
        self,
        study_instance_uid: str,
        *,
        ordered_by: str,
        key: str,
        pipelines: Sequence[str] = (),
        targets: Sequence[str] = (),
        priority: Priority = Priority.NORMAL,
    ) -> str:
        """Order a run over a study that has been received; the same ``key`` orders once.

        Returns:
            id of the job.

        Raises:
            CommandError: nothing of the study is here.
        """
        query = select(COLLECTIONS).where(
            COLLECTIONS.c.study_instance_uid == study_instance_uid,
            COLLECTIONS.c.state != CollectionState.REMOVED,
        )
        found = self._ledger.rows(query.order_by(COLLECTIONS.c.key), collection_of)
        if not found:
            raise CommandError("nothing of this study has been received")
        identifier = jobs.order_job(
            self._ledger,
            found[0],
            pipelines=pipelines,
            targets=targets,
            priority=priority,
            ordered_by=ordered_by,
            key=key,
        )
        job = self._job(identifier)
        if job.state is JobState.QUEUED:
            self._workflows.enqueue_job(job)
        return identifier

    def _job(self, identifier: str) -> NodeJob:
        found = history.job(self._ledger, identifier)
        if found is None:
            raise CommandError(f"there is no job {identifier}")
        return found

    def _present(self, key: str) -> Collection:
        collection = history.collection(self._ledger, key)
        if collection is None or collection.state is CollectionState.REMOVED:
            raise CommandError(
                "its received objects are gone (node.retention); send the study again"
            )
        return collection
