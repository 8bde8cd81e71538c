"""Performs work items with jobs of the node, and tells in the work item what comes of them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from app.logs import describe_fault
from app.node.deliver.settings import TargetSettings
from app.node.records import JobState, NodeJob
from app.node.worklist.notifier import Notifier
from app.node.worklist.order import WorkOrder, order_in
from app.node.worklist.settings import OWN_SCHEME, WorklistSettings
from app.node.worklist.workitem import StepState, UpsProblem, Workitem, date_time
from app.node.worklist.workitem_store import WorkitemStore

_LOG = logging.getLogger(__name__)
_SECONDS_BETWEEN_LOOKS = 1.0
_SECONDS_PER_DAY = 86_400.0


class NotHereYet(Exception):  # noqa: N818 - it may come
    """The study has not been received, or is not complete yet."""


@dataclass(frozen=True)
class Output:
    """One object that a job made.

    Attributes:
        series_instance_uid: of its series.
        sop_class_uid: of the object.
        sop_instance_uid: of the object.
    """

    series_instance_uid: str
    sop_class_uid: str
    sop_instance_uid: str


class Jobs(Protocol):
    """What performers want of the node."""

    def has(self, study_instance_uid: str) -> bool:
        """Whether a study has been received and is complete."""

    def order(self, order: WorkOrder, workitem_uid: str) -> str:
        """Order a run, once for each work item; its id. Raises NotHereYet."""

    def cancel(self, job: str) -> None:
        """Cancel a job that has not ended."""

    def job(self, identifier: str) -> NodeJob | None:
        """Where a job stands."""

    def outputs(self, job: NodeJob) -> list[Output]:
        """What a job made."""


class Performer(threading.Thread):
    """Claims what is scheduled, and brings claimed work items to their end.

    Args:
        settings: of the worklist.
        store: of the work items.
        notifier: tells subscribers.
        jobs: of the node.
        targets: of the node.
        name: of this node, as station.
    """

    def __init__(
        self,
        settings: WorklistSettings,
        store: WorkitemStore,
        notifier: Notifier,
        jobs: Jobs,
        targets: Mapping[str, TargetSettings],
        name: str,
    ) -> None:
        super().__init__(name="ups-performer", daemon=True)
        self._settings = settings
        self._store = store
        self._notifier = notifier
        self._jobs = jobs
        self._targets = targets
        self._station = name
        self._awake = threading.Event()
        self._stopping = False

    def check(self, data_set: Dataset) -> None:
        """Raise UpsProblem for a work item that cannot be performed here."""
        order_in(data_set, self._settings, self._targets)

    def wake(self) -> None:
        """There is something to do."""
        self._awake.set()

    def cancel(self, item: Workitem) -> bool:
        """Stop performing a work item; whether this node performs it."""
        if not item.job:
            return False
        self._jobs.cancel(item.job)
        return True

    def stop(self) -> None:
        """End after what is being done now."""
        self._stopping = True
        self._awake.set()
        self.join()

    def run(self) -> None:
        """Look after work items until the end."""
        while not self._stopping:
            self._awake.wait(_SECONDS_BETWEEN_LOOKS)
            self._awake.clear()
            self.look()

    def look(self) -> None:
        """Look once after every work item."""
        for item in self._store.all():
            try:
                self._attend(item)
            except Exception as error:  # noqa: BLE001 - the others must be attended to
                _LOG.error("work item: %s", describe_fault(error), exc_info=error)
        self._store.forget(time.time() - self._settings.kept_days * _SECONDS_PER_DAY)

    def _attend(self, item: Workitem) -> None:
        if item.state is StepState.SCHEDULED and self._settings.perform:
            self._claim(item)
        elif item.state is StepState.IN_PROGRESS and item.job:
            job = self._jobs.job(item.job)
            if job is not None:
                self._follow(item, job)

    def _claim(self, item: Workitem) -> None:
        try:
            order = order_in(item.data_set, self._settings, self._targets)
        except UpsProblem as problem:  # the settings changed since it was created
            self._give_up(item, problem.comment)
            return
        try:
            job = self._jobs.order(order, item.uid)
        except NotHereYet:
            return
        # A claim that a kill separates from its order is made again: the order is the same.
        with self._store.changing(item.uid) as changed:
            changed.change_state(StepState.IN_PROGRESS, str(generate_uid()))
            changed.job = job
            changed.progress().ProcedureStepProgressDescription = "waits in the queue"
        self._notifier.state_changed(changed)

    def _give_up(self, item: Workitem, reason: str) -> None:
        with self._store.changing(item.uid) as changed:
            changed.progress().ReasonForCancellation = reason
            changed.change_state(StepState.IN_PROGRESS, str(generate_uid()))
            changed.change_state(StepState.CANCELED, changed.transaction_uid)
        self._notifier.state_changed(changed)

    def _follow(self, item: Workitem, job: NodeJob) -> None:
        if job.state is JobState.DONE:
            self._end(item, job, StepState.COMPLETED, "")
        elif job.state is JobState.CANCELLED:
            self._end(item, job, StepState.CANCELED, "")
        elif job.state in (JobState.FAILED, JobState.SKIPPED):
            self._end(item, job, StepState.CANCELED, job.failure or job.why)
        elif item.progress().get("ProcedureStepProgressDescription") != job.state.value:
            with self._store.changing(item.uid) as changed:
                changed.progress().ProcedureStepProgressDescription = job.state.value
            self._notifier.progressed(changed)

    def _end(self, item: Workitem, job: NodeJob, state: StepState, reason: str) -> None:
        with self._store.changing(item.uid) as changed:
            changed.data_set.UnifiedProcedureStepPerformedProcedureSequence = [
                performed_procedure(changed, job, self._jobs.outputs(job), self._station)
            ]
            if reason:
                changed.progress().ReasonForCancellation = reason[:1024]
            changed.change_state(state, changed.transaction_uid)
        self._notifier.state_changed(changed)


def performed_procedure(
    item: Workitem, job: NodeJob, outputs: list[Output], station: str
) -> Dataset:
    """An item of Unified Procedure Step Performed Procedure Sequence (0074,1216).

    Args:
        item: that was performed.
        job: that performed it.
        outputs: of the job.
        station: name of this node.
    """
    performed = Dataset()
    performed.PerformedStationNameCodeSequence = [_code(station[:16], f"node {station}"[:64])]
    performed.PerformedProcedureStepStartDateTime = _date_time(job.started or job.created)
    performed.PerformedProcedureStepEndDateTime = _date_time(job.finished or time.time())
    scheduled = item.data_set.get("ScheduledWorkitemCodeSequence")
    performed.PerformedWorkitemCodeSequence = scheduled or [
        _code("all", "every pipeline that fits")
    ]
    performed.OutputInformationSequence = _references(job.study_instance_uid, outputs)
    return performed


def _code(value: str, meaning: str) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, OWN_SCHEME, meaning
    return code


def _date_time(seconds: float) -> str:
    moment = time.gmtime(seconds)
    return time.strftime("%Y%m%d%H%M%S+0000", moment) if seconds else date_time()


def _references(study: str, outputs: list[Output]) -> list[Dataset]:
    """Items of Output Information Sequence (0040,4033), one for each series."""
    by_series: dict[str, Dataset] = {}
    for output in outputs:
        series = by_series.get(output.series_instance_uid)
        if series is None:
            series = by_series[output.series_instance_uid] = Dataset()
            series.TypeOfInstances = "DICOM"
            series.StudyInstanceUID = study
            series.SeriesInstanceUID = output.series_instance_uid
            series.ReferencedSOPSequence = []
        item = Dataset()
        item.ReferencedSOPClassUID = output.sop_class_uid
        item.ReferencedSOPInstanceUID = output.sop_instance_uid
        series.ReferencedSOPSequence.append(item)
    return list(by_series.values())
