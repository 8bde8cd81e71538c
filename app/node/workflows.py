"""Jobs and deliveries as DBOS workflows: each step that is done stays done, whatever is killed.

A job waits in the queue ``jobs`` by its priority. Each try to deliver to a target is a workflow
of its own, delayed until it is due, so that a target that is down for days holds nothing up.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from dbos import DBOS, DBOSConfiguredInstance, SetEnqueueOptions, SetWorkflowID

from app.logs import describe_fault
from app.node import deliveries, history, jobs
from app.node.audit import AuditTrail
from app.node.courier import Courier
from app.node.ledger import Ledger, now
from app.node.records import ENDED, JobState, NodeJob, Priority
from app.node.runner import JobRunner, MissingObjectsError
from app.result_file import ResultFile, RunStatus

_LOG = logging.getLogger(__name__)

JOBS_QUEUE = "jobs"
DELIVERIES_QUEUE = "deliveries"
_DELIVERIES_AT_A_TIME = 8
_TO_ONE_TARGET_AT_A_TIME = 2
_SECONDS_BETWEEN_POLLS = 0.25
_PRIORITIES = {Priority.URGENT: 1, Priority.NORMAL: 10, Priority.OFF_PEAK: 100}
"""For DBOS, where the smallest number runs first."""

_AT_A_TIME = 200
_UNFINISHED = ["PENDING", "ENQUEUED", "DELAYED"]


def open_queues(workers: int) -> None:
    """Register the queues; ``workers`` jobs run at a time on this machine."""
    DBOS.register_queue(
        JOBS_QUEUE,
        worker_concurrency=workers,
        polling_interval_sec=_SECONDS_BETWEEN_POLLS,
        on_conflict="always_update",
    )
    DBOS.register_queue(
        DELIVERIES_QUEUE,
        worker_concurrency=_DELIVERIES_AT_A_TIME,
        partition_worker_concurrency=_TO_ONE_TARGET_AT_A_TIME,
        polling_interval_sec=_SECONDS_BETWEEN_POLLS,
        on_conflict="always_update",
    )


@DBOS.dbos_class()
class NodeWorkflows(DBOSConfiguredInstance):
    """The two workflows, and how they are started.

    Args:
        ledger: where jobs stand.
        runner: runs them.
        courier: brings their results to the targets.
        machine: name of this one.
        starts: a job that was started more often, because the node ended, fails.
        audit: is told of each run.
    """

    def __init__(
        self,
        ledger: Ledger,
        runner: JobRunner,
        courier: Courier,
        machine: str,
        starts: int,
        audit: AuditTrail,
    ) -> None:
        self._ledger = ledger
        self._runner = runner
        self._courier = courier
        self._machine = machine
        self._starts = starts
        self._audit = audit
        self._active: set[str] = set()
        self._suspects: set[str] = set()
        super().__init__("node")

    def enqueue_job(self, job: NodeJob, occasion: str = "first") -> None:
        """Let a job run when its turn comes; nothing happens where it waits already.

        Args:
            job: not yet ended.
            occasion: another one starts it again.
        """
        delay = job.not_before - now()
        priority = _PRIORITIES[job.priority]
        with (
            SetWorkflowID(f"run/{job.id}/{occasion}"),
            SetEnqueueOptions(priority=priority, delay_seconds=delay if delay > 0 else None),
        ):
            DBOS.enqueue_workflow(JOBS_QUEUE, self.run_job, job.id)

    def enqueue_delivery(
        self, job: str, target: str, occasion: str, number: int = 1, delay: float = 0.0
    ) -> None:
        """Let the ``number``-th try of a delivery come; nothing happens where it waits already.

        Args:
            job: of which the results are.
            target: where they go.
            occasion: what started these tries: the run, or that somebody asked.
            number: of the try.
            delay: seconds.
        """
        delayed = delay if delay > 0 else None
        with (
            SetWorkflowID(f"deliver/{job}/{target}/{occasion}/{number}"),
            SetEnqueueOptions(queue_partition_key=target, delay_seconds=delayed),
        ):
            DBOS.enqueue_workflow(DELIVERIES_QUEUE, self.deliver, job, target, occasion, number)

    def is_delivery_waiting(self, job: str, target: str) -> bool:
        """Whether a try of a delivery is under way or due."""
        prefix = f"deliver/{job}/{target}/"
        return bool(DBOS.list_workflows(workflow_id_prefix=prefix, status=_UNFINISHED, limit=1))

    def at_work(self, identifiers: Iterable[str]) -> set[str]:
        """Those of the jobs that a workflow runs, or will run."""
        rest = list(identifiers)
        found: set[str] = set()
        for begin in range(0, len(rest), _AT_A_TIME):
            prefixes = [f"run/{job}/" for job in rest[begin : begin + _AT_A_TIME]]
            for status in DBOS.list_workflows(workflow_id_prefix=prefixes, status=_UNFINISHED):
                found.add(status.workflow_id.split("/")[1])
        return found

    def resume_broken(self) -> None:
        """Resume workflows of this machine whose thread ended by a fault of the database.

        A workflow that has just been taken up may not have reached its thread: it is resumed
        when it is found like this for the second time.
        """
        pending = DBOS.list_workflows(status="PENDING", executor_id=[self._machine])
        broken = {status.workflow_id for status in pending} - self._active
        for workflow in sorted(broken & self._suspects):
            _LOG.warning("a workflow had lost its thread; it is resumed")
            queue = JOBS_QUEUE if workflow.startswith("run/") else DELIVERIES_QUEUE
            DBOS.resume_workflow(workflow, queue_name=queue)
        self._suspects = broken - self._suspects

    @DBOS.workflow(max_recovery_attempts=None)
    def run_job(self, identifier: str) -> None:
        """Stage, run, and send the results on their way."""
        with self._noted():
            for target in self._stage_and_run(identifier):
                self.enqueue_delivery(identifier, target, "run")

    @DBOS.workflow(max_recovery_attempts=None)
    def deliver(self, job: str, target: str, occasion: str, number: int) -> None:
        """Try once, and let the next try come when it is due."""
        with self._noted():
            delay = self._try(job, target)
            if delay is not None:
                self.enqueue_delivery(job, target, occasion, number + 1, delay)

    @contextmanager
    def _noted(self) -> Iterator[None]:
        """Note that this workflow has a thread."""
        workflow = DBOS.workflow_id or ""
        self._active.add(workflow)
        try:
            yield
        finally:
            self._active.discard(workflow)

    def _stage_and_run(self, identifier: str) -> list[str]:
        """Names of the targets that get something."""
        if not self._stage(identifier):
            return []
        self._run(identifier)
        return self._hand_over(identifier)

    @DBOS.step()
    def _stage(self, identifier: str) -> bool:
        """Gather the input; whether there is something to run."""
        job = history.job(self._ledger, identifier)
        if job is None or job.state in ENDED:
            return False
        if job.cancel:
            jobs.set_state(self._ledger, identifier, JobState.CANCELLED)
            return False
        jobs.begin_step(self._ledger, identifier, job.attempt + 1, "stage")
        try:
            self._runner.stage(job)
        except (MissingObjectsError, OSError) as error:
            self._runner.clear(identifier)
            self._fail(identifier, describe_fault(error), error)
            return False
        jobs.end_step(self._ledger, identifier, job.attempt + 1, "stage", f"{job.objects} objects")
        return True

    @DBOS.step()
    def _run(self, identifier: str) -> None:
        """Run the job; its result lies in its folder afterwards, or the job has failed."""
        job = jobs.start_job(self._ledger, identifier, self._machine)
        if job is None:
            return
        if job.attempt > self._starts:
            reason = f"it was interrupted {self._starts} times by ends of the node"
            self._fail(identifier, reason)
            return
        _LOG.info("job started", extra={"job": job.id, "attempt": job.attempt})
        try:
            result = self._runner.run(job)
        # Whatever it is, the job must say so, and the node goes on.
        except Exception as error:  # noqa: BLE001
            self._fail(identifier, describe_fault(error), error)
            self._tell(job, describe_fault(error))
            return
        models = {
            file: digest for entry in result.pipelines for file, digest in entry.models.items()
        }
        jobs.set_result(self._ledger, identifier, job.id, result.status, models)
        self._tell(job, result.failure if result.status is RunStatus.FAILED else "")
        if jobs.cancel_asked(self._ledger, identifier) and result.status is RunStatus.FAILED:
            jobs.set_state(self._ledger, identifier, JobState.CANCELLED)
        elif result.status is RunStatus.FAILED:
            self._fail(identifier, result.failure)

    @DBOS.step()
    def _hand_over(self, identifier: str) -> list[str]:
        """Plan the deliveries; names of the targets that get something."""
        # Not before: until the run is noted as done, it may be done again with the same input.
        self._runner.clear(identifier)
        job = history.job(self._ledger, identifier)
        if job is None or job.state in ENDED:
            return []
        result = ResultFile.read(self._runner.results / job.result_folder / "result.json")
        if result is None:
            self._fail(identifier, "its result.json cannot be read")
            return []
        jobs.set_state(self._ledger, identifier, JobState.DELIVERING)
        deliveries.plan_deliveries(self._ledger, identifier, job.result_folder, result, job.targets)
        self.settle(identifier)
        return list(job.targets)

    @DBOS.step()
    def _try(self, job: str, target: str) -> float | None:
        """Try a delivery once; seconds until the next try, or None."""
        delay = self._courier.bring(job, target)
        self.settle(job)
        return delay

    def settle(self, identifier: str) -> None:
        """End a job of which everything has been delivered or given up."""
        if deliveries.open_count(self._ledger, identifier):
            return
        failed = deliveries.failures(self._ledger, identifier)
        if failed:
            first = failed[0]
            self._fail(
                identifier,
                f"{len(failed)} objects were not delivered; {first.target}: {first.reason}",
            )
        elif jobs.set_state(self._ledger, identifier, JobState.DONE):
            _LOG.info("job done", extra={"job": identifier})

    def _tell(self, job: NodeJob, failure: str) -> None:
        objects = history.objects(self._ledger, job.collection, job.generation)
        self._audit.ran(
            job.id,
            job.study_instance_uid,
            [one.sop_instance_uid for one in objects],
            by=job.ordered_by or f"rule {job.rule}",
            failure=failure,
        )

    def _fail(self, identifier: str, reason: str, error: BaseException | None = None) -> None:
        if jobs.set_state(self._ledger, identifier, JobState.FAILED, reason):
            _LOG.error("job failed: %s", reason, extra={"job": identifier}, exc_info=error)
