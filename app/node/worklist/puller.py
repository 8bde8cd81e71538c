"""Performs work items of workflow managers: looks what they have scheduled, claims, runs, reports.

IHE AI Workflow for Imaging calls this the pull workflow. What was claimed is kept on disk with the
Transaction UID of the claim, written before the claim is sent, so that neither a kill of this node
nor an unreachable manager leaves a claim of which nobody knows.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Mapping

from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from app.logs import describe_fault
from app.node.deliver.settings import TargetSettings
from app.node.encoded_header import UnreadableObject, checked_uid
from app.node.records import ENDED as ENDED_JOBS
from app.node.records import JobState, NodeJob
from app.node.worklist.manager import (
    ManagerRefusedError,
    ManagersList,
    ManagerUnavailableError,
    managers_list,
)
from app.node.worklist.order import order_in
from app.node.worklist.performer import Jobs, NotHereYet, performed_procedure
from app.node.worklist.settings import WorklistSettings
from app.node.worklist.workitem import ENDED, StepState, UpsProblem, UpsStatus, Workitem
from app.node.worklist.workitem_store import WorkitemStore
from operators.vocabulary.refusal import hashed_uid

_LOG = logging.getLogger(__name__)
_SECONDS_BETWEEN_LOOKS = 1.0
_SECONDS_PER_DAY = 86_400.0


class Puller(threading.Thread):
    """Looks after the work items of every manager in turn.

    Args:
        settings: of the worklist; ``managers`` says whose lists are looked at.
        store: of the work items that were claimed.
        jobs: of the node.
        targets: of the node.
        name: of this node, as station.
    """

    def __init__(
        self,
        settings: WorklistSettings,
        store: WorkitemStore,
        jobs: Jobs,
        targets: Mapping[str, TargetSettings],
        name: str,
    ) -> None:
        super().__init__(name="ups-puller", daemon=True)
        self._settings = settings
        self._store = store
        self._jobs = jobs
        self._targets = targets
        self._station = name
        self._stopping = threading.Event()
        self._next_look = dict.fromkeys(settings.managers, 0.0)

    def stop(self) -> None:
        """End after what is being done now."""
        self._stopping.set()
        if self.is_alive():
            self.join()

    def run(self) -> None:
        """Look at every list as often as its settings say, until the end."""
        for item in self._store.all():
            if item.manager not in self._settings.managers and item.state not in ENDED:
                _LOG.error(
                    "work item %s was claimed from %s, which node.worklist.managers names no more: "
                    "nobody is told what becomes of it",
                    hashed_uid(item.uid),
                    item.manager,
                )
        while not self._stopping.wait(_SECONDS_BETWEEN_LOOKS):
            now = time.monotonic()
            for name in [one for one, due in self._next_look.items() if due <= now]:
                self.look(name)
                manager = self._settings.managers[name]
                self._next_look[name] = time.monotonic() + manager.seconds_between_looks

    def look(self, name: str) -> None:
        """Look once at the list of a manager, and after what was claimed from it."""
        try:
            with managers_list(self._settings.managers[name]) as remote:
                for item in self._store.all():
                    if item.manager == name and item.state not in ENDED:
                        self._guarded(name, self._attend, remote, item)
                for data_set in remote.scheduled():
                    self._guarded(name, self._consider, remote, name, data_set)
        except ManagerUnavailableError as error:
            _LOG.warning("the worklist %s is not available: %s", name, error)
        except ManagerRefusedError as error:
            _LOG.error("the worklist %s refuses to be searched: %s", name, error)
        self._store.forget(time.time() - self._settings.kept_days * _SECONDS_PER_DAY)

    @staticmethod
    def _guarded(name: str, work: Callable[..., None], *arguments: object) -> None:
        """Do what concerns one work item; only where the manager is away the others must wait."""
        try:
            work(*arguments)
        except ManagerUnavailableError:
            raise
        except ManagerRefusedError as error:
            _LOG.error("the worklist %s refused: %s", name, error)
        except Exception as error:  # noqa: BLE001 - the other work items must be attended to
            _LOG.error("worklist %s: %s", name, describe_fault(error), exc_info=error)

    def _consider(self, remote: ManagersList, name: str, data_set: Dataset) -> None:
        """Claim a work item that is for this node and can be begun."""
        try:
            uid = checked_uid(str(data_set.get("SOPInstanceUID") or ""), "SOP Instance UID")
            order = order_in(data_set, self._settings, self._targets)
        except (UnreadableObject, UpsProblem):
            return  # a step for somebody else, such as a reading
        ready = str(data_set.get("InputReadinessState") or "READY") == "READY"
        # Without a code it means every pipeline in the node's own list; here it may mean anything.
        if not order.pipelines or not ready or not self._jobs.has(order.study_instance_uid):
            return
        data_set.ProcedureStepState = str(StepState.SCHEDULED)
        item = Workitem(uid, data_set, transaction_uid=str(generate_uid()), manager=name)
        try:
            self._store.add(item)
        except UpsProblem:
            return  # claimed before; the manager's list is behind
        self._claim(remote, item, is_repeated=False)

    def _attend(self, remote: ManagersList, item: Workitem) -> None:
        if item.state is StepState.SCHEDULED:
            self._claim(remote, item, is_repeated=True)
            return
        job = self._jobs.job(item.job) if item.job else None
        if job is not None and job.state in ENDED_JOBS:
            self._end(remote, item, job)
        elif self._is_taken_away(remote, item):
            return
        elif job is None:
            self._order(remote, item)
        else:
            self._tell(remote, item, job)

    def _claim(self, remote: ManagersList, item: Workitem, *, is_repeated: bool) -> None:
        try:
            remote.change_state(item.uid, StepState.IN_PROGRESS, item.transaction_uid)
        except ManagerRefusedError as error:
            # The answer to a claim that was sent before: it is claimed, with this Transaction UID.
            if not (is_repeated and error.status == UpsStatus.ALREADY_IN_PROGRESS):
                _LOG.info(
                    "work item %s of %s is not for us: %s",
                    hashed_uid(item.uid),
                    item.manager,
                    error,
                )
                self._store.remove(item.uid)
                return
        with self._store.changing(item.uid) as changed:
            changed.data_set.ProcedureStepState = str(StepState.IN_PROGRESS)
        _LOG.info("claimed work item %s of %s", hashed_uid(item.uid), item.manager)
        self._order(remote, changed)

    def _order(self, remote: ManagersList, item: Workitem) -> None:
        try:
            order = order_in(item.data_set, self._settings, self._targets)
            job = self._jobs.order(order, item.uid)
        except NotHereYet:
            return
        except UpsProblem as problem:  # the settings changed since it was claimed
            self._give_up(remote, item, problem.comment)
            return
        with self._store.changing(item.uid) as changed:
            changed.job = job

    def _give_up(self, remote: ManagersList, item: Workitem, reason: str) -> None:
        with self._store.changing(item.uid) as changed:
            changed.progress().ReasonForCancellation = reason
            remote.update(item.uid, _progress_of(changed), item.transaction_uid)
            remote.change_state(item.uid, StepState.CANCELED, item.transaction_uid)
        self._ended(item, StepState.CANCELED)

    def _is_taken_away(self, remote: ManagersList, item: Workitem) -> bool:
        """Whether the manager has ended the work item itself; its job is cancelled then."""
        try:
            if remote.state(item.uid) is StepState.IN_PROGRESS:
                return False
            why = "the manager has ended it"
        except ManagerRefusedError as error:
            if error.status != UpsStatus.NO_SUCH_WORKITEM:
                raise
            why = "the manager has it no more"
        _LOG.warning("work item %s of %s: %s", hashed_uid(item.uid), item.manager, why)
        if item.job:
            self._jobs.cancel(item.job)
        self._ended(item, StepState.CANCELED)
        return True

    def _tell(self, remote: ManagersList, item: Workitem, job: NodeJob) -> None:
        if item.progress().get("ProcedureStepProgressDescription") != job.state.value:
            with self._store.changing(item.uid) as changed:
                changed.progress().ProcedureStepProgressDescription = job.state.value
                remote.update(item.uid, _progress_of(changed), item.transaction_uid)

    def _end(self, remote: ManagersList, item: Workitem, job: NodeJob) -> None:
        done = job.state is JobState.DONE
        state = StepState.COMPLETED if done else StepState.CANCELED
        with self._store.changing(item.uid) as changed:
            if not done:
                reason = job.failure or job.why or "cancelled at the node"
                changed.progress().ReasonForCancellation = reason[:1024]
            changes = _progress_of(changed)
            changes.UnifiedProcedureStepPerformedProcedureSequence = [
                performed_procedure(changed, job, self._jobs.outputs(job), self._station)
            ]
            try:
                remote.update(item.uid, changes, item.transaction_uid)
                remote.change_state(item.uid, state, item.transaction_uid)
            except ManagerRefusedError as error:
                # Where the answer was lost that it has ended, it takes no second end.
                self._expect(remote, item, state, error)
        self._ended(item, state)

    @staticmethod
    def _expect(
        remote: ManagersList, item: Workitem, state: StepState, refusal: ManagerRefusedError
    ) -> None:
        with contextlib.suppress(ManagerRefusedError):
            if remote.state(item.uid) is state:
                return
        name = hashed_uid(item.uid)
        _LOG.error("work item %s of %s cannot be ended: %s", name, item.manager, refusal)

    def _ended(self, item: Workitem, state: StepState) -> None:
        with self._store.changing(item.uid) as changed:
            changed.data_set.ProcedureStepState = str(state)


def _progress_of(item: Workitem) -> Dataset:
    changes = Dataset()
    changes.ProcedureStepProgressInformationSequence = [item.progress()]
    return changes
