"""Puts right what a fault of the database, or a kill between two databases, left undone.

The ledger says what is to be done; a workflow does it. Where nothing does it, it is started once
more: each step may be done again.
"""

from __future__ import annotations

import logging
import time

from sqlalchemy import exists, select

from app.node.ledger import Ledger, job_of, now
from app.node.records import DeliveryState, JobState, NodeJob
from app.node.tables import DELIVERIES, JOBS
from app.node.workflows import NodeWorkflows

_LOG = logging.getLogger(__name__)
_QUIET_SECONDS = 15.0
"""What has changed later may be on its way to a workflow."""


class Sweep:
    """Called now and then.

    Args:
        ledger: says what is to be done.
        workflows: do it.
    """

    def __init__(self, ledger: Ledger, workflows: NodeWorkflows) -> None:
        self._ledger = ledger
        self._workflows = workflows

    def __call__(self) -> None:
        """Look for what nothing does."""
        self._workflows.resume_broken()
        self._start_jobs()
        self._start_deliveries()
        self._settle_jobs()

    def _start_jobs(self) -> None:
        query = select(JOBS).where(
            JOBS.c.state.in_((JobState.QUEUED, JobState.RUNNING)),
            JOBS.c.changed < now() - _QUIET_SECONDS,
        )
        waiting: list[NodeJob] = self._ledger.rows(query, job_of)
        at_work = self._workflows.at_work(job.id for job in waiting)
        for job in waiting:
            if job.id not in at_work:
                self._say(job.id)
                self._workflows.enqueue_job(job, _now_again())

    def _start_deliveries(self) -> None:
        query = (
            select(DELIVERIES.c.job, DELIVERIES.c.target)
            .where(
                DELIVERIES.c.state == DeliveryState.WAITING,
                DELIVERIES.c.next_try < now() - _QUIET_SECONDS,
                exists().where(
                    JOBS.c.id == DELIVERIES.c.job,
                    JOBS.c.state == JobState.DELIVERING,
                    JOBS.c.changed < now() - _QUIET_SECONDS,
                ),
            )
            .distinct()
        )
        overdue = self._ledger.rows(query, tuple)
        at_work = self._workflows.at_work(job for job, _ in overdue)
        for job, target in overdue:
            if job not in at_work and not self._workflows.is_delivery_waiting(job, target):
                self._say(job)
                self._workflows.enqueue_delivery(job, target, _now_again())

    def _settle_jobs(self) -> None:
        query = select(JOBS.c.id).where(
            JOBS.c.state == JobState.DELIVERING,
            JOBS.c.changed < now() - _QUIET_SECONDS,
            ~exists().where(
                DELIVERIES.c.job == JOBS.c.id, DELIVERIES.c.state == DeliveryState.WAITING
            ),
        )
        done: list[str] = self._ledger.rows(query, lambda row: str(row.id))
        at_work = self._workflows.at_work(done)
        for job in done:
            if job not in at_work:
                self._workflows.settle(job)

    def _say(self, job: str) -> None:
        _LOG.warning("nothing was at work on a job; it is started again", extra={"job": job})


def _now_again() -> str:
    """An occasion that never was before."""
    return f"again-{time.time_ns()}"
