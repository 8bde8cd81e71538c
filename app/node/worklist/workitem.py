"""A work item and what may happen to it (PS3.4 CC.1.1 and CC.2)."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import IntEnum, StrEnum

from pydicom.dataset import Dataset


class StepState(StrEnum):
    """Procedure Step State (0074,1000)."""

    SCHEDULED = "SCHEDULED"
    IN_PROGRESS = "IN PROGRESS"
    COMPLETED = "COMPLETED"
    CANCELED = "CANCELED"


ENDED = (StepState.COMPLETED, StepState.CANCELED)


class UpsStatus(IntEnum):
    """Status codes of the service class (PS3.4 tables CC.2.1-2 to CC.2.8-2)."""

    SUCCESS = 0x0000
    INVALID_ATTRIBUTE_VALUE = 0x0106
    PROCESSING_FAILURE = 0x0110
    DUPLICATE_INSTANCE = 0x0111
    INVALID_ARGUMENT = 0x0115
    MISSING_ATTRIBUTE = 0x0120
    NO_SUCH_ACTION = 0x0123
    ALREADY_CANCELED = 0xB304
    ALREADY_COMPLETED = 0xB306
    NOT_UPDATABLE = 0xC300
    WRONG_TRANSACTION = 0xC301
    ALREADY_IN_PROGRESS = 0xC302
    ONLY_CREATED_SCHEDULED = 0xC303
    FINAL_STATE_NOT_MET = 0xC304
    NO_SUCH_WORKITEM = 0xC307
    UNKNOWN_RECEIVER = 0xC308
    NOT_CREATED_SCHEDULED = 0xC309
    NOT_IN_PROGRESS = 0xC310
    CANNOT_CANCEL_COMPLETED = 0xC311


class UpsProblem(Exception):  # noqa: N818 - an answer to the requestor
    """What was asked for cannot be done.

    Args:
        status: to answer with.
        comment: for a human on the other side.
    """

    def __init__(self, status: UpsStatus, comment: str) -> None:
        self.status = status
        self.comment = comment
        super().__init__(comment)


@dataclass
class Workitem:
    """A Unified Procedure Step.

    Attributes:
        uid: SOP Instance UID.
        data_set: its attributes, without the Transaction UID.
        transaction_uid: lock of whoever performs it; empty while it is scheduled.
        job: of the node that performs it; empty where none does.
        manager: name of the workflow manager in whose list it stands; empty for that of the node.
        subscribers: AE titles that follow it.
        changed: seconds since 1970, UTC.
    """

    uid: str
    data_set: Dataset
    transaction_uid: str = ""
    job: str = ""
    manager: str = ""
    subscribers: list[str] = field(default_factory=list)
    changed: float = 0.0

    @property
    def state(self) -> StepState:
        """Procedure Step State (0074,1000)."""
        return StepState(self.data_set.ProcedureStepState)

    def update(self, changes: Dataset, transaction_uid: str) -> None:
        """N-SET: change attributes, not the state.

        Raises:
            UpsProblem: it has ended, somebody else performs it, or the state is among them.
        """
        if self.state in ENDED:
            raise UpsProblem(UpsStatus.NOT_UPDATABLE, "it has ended")
        if transaction_uid != self.transaction_uid:
            raise UpsProblem(UpsStatus.WRONG_TRANSACTION, "the Transaction UID is not its own")
        if "ProcedureStepState" in changes:
            raise UpsProblem(
                UpsStatus.INVALID_ATTRIBUTE_VALUE, "the state is changed by N-ACTION alone"
            )
        for element in changes:
            if element.keyword not in ("TransactionUID", "SOPInstanceUID", "SOPClassUID"):
                self.data_set[element.tag] = element

    def change_state(self, wanted: StepState, transaction_uid: str) -> UpsStatus:
        """N-ACTION 1: claim, complete or cancel (PS3.4 table CC.1.1-2).

        Returns:
            Success, or a warning where it is in that state already.

        Raises:
            UpsProblem: it cannot come from its state into that one.
        """
        if wanted is StepState.SCHEDULED:
            raise UpsProblem(UpsStatus.ONLY_CREATED_SCHEDULED, "only N-CREATE schedules")
        if not transaction_uid:
            raise UpsProblem(UpsStatus.WRONG_TRANSACTION, "there is no Transaction UID")
        state = self.state
        if state is StepState.SCHEDULED:
            if wanted is not StepState.IN_PROGRESS:
                raise UpsProblem(UpsStatus.NOT_IN_PROGRESS, "nobody has claimed it")
            self.transaction_uid = transaction_uid
        else:
            if transaction_uid != self.transaction_uid:
                raise UpsProblem(UpsStatus.WRONG_TRANSACTION, "the Transaction UID is not its own")
            if state is StepState.IN_PROGRESS and wanted is StepState.IN_PROGRESS:
                raise UpsProblem(UpsStatus.ALREADY_IN_PROGRESS, "it has been claimed")
            if state in ENDED:
                return self._already(state, wanted)
            if wanted is StepState.COMPLETED:
                self._check_final()
            else:
                self._note_cancellation()
        self.data_set.ProcedureStepState = str(wanted)
        return UpsStatus.SUCCESS

    def _already(self, state: StepState, wanted: StepState) -> UpsStatus:
        if wanted is not state:
            raise UpsProblem(UpsStatus.NOT_UPDATABLE, f"it is {state}")
        completed = state is StepState.COMPLETED
        return UpsStatus.ALREADY_COMPLETED if completed else UpsStatus.ALREADY_CANCELED

    def _check_final(self) -> None:
        """What must be known of a completed step (PS3.4 table CC.2.5-3, final state R)."""
        performed = self.data_set.get("UnifiedProcedureStepPerformedProcedureSequence")
        needed = (
            "PerformedStationNameCodeSequence",
            "PerformedProcedureStepStartDateTime",
            "PerformedProcedureStepEndDateTime",
            "PerformedWorkitemCodeSequence",
            "OutputInformationSequence",
        )
        missing = [word for word in needed if not performed or word not in performed[0]]
        if missing:
            raise UpsProblem(UpsStatus.FINAL_STATE_NOT_MET, f"{missing[0]} is not known")

    def _note_cancellation(self) -> None:
        """A cancelled step says when it was (PS3.4 table CC.2.5-3); the rest is optional."""
        progress = self.progress()
        if not progress.get("ProcedureStepCancellationDateTime"):
            progress.ProcedureStepCancellationDateTime = date_time()
        if "ReasonForCancellation" not in progress:
            progress.ReasonForCancellation = ""

    def progress(self) -> Dataset:
        """The item of Procedure Step Progress Information Sequence (0074,1002); made if absent."""
        if not self.data_set.get("ProcedureStepProgressInformationSequence"):
            self.data_set.ProcedureStepProgressInformationSequence = [Dataset()]
        item = self.data_set.ProcedureStepProgressInformationSequence[0]
        assert isinstance(item, Dataset)
        return item


def date_time() -> str:
    """Now, as DT in UTC."""
    return datetime.now(UTC).strftime("%Y%m%d%H%M%S.%f+0000")


_NEEDED = (
    "ScheduledProcedureStepPriority",
    "ProcedureStepLabel",
    "InputInformationSequence",
)


def created(uid: str, attributes: Dataset) -> Workitem:
    """N-CREATE: a new work item.

    Raises:
        UpsProblem: an attribute that must be there is not, or it is not to be scheduled.
    """
    state = attributes.get("ProcedureStepState")
    if state != StepState.SCHEDULED:
        raise UpsProblem(UpsStatus.NOT_CREATED_SCHEDULED, "a work item begins as SCHEDULED")
    if attributes.get("TransactionUID"):
        raise UpsProblem(
            UpsStatus.INVALID_ATTRIBUTE_VALUE, "a new work item has no Transaction UID"
        )
    for keyword in (
        "ScheduledProcedureStepPriority",
        "ProcedureStepLabel",
        "InputInformationSequence",
    ):
        if keyword not in attributes:
            raise UpsProblem(UpsStatus.MISSING_ATTRIBUTE, f"{keyword} is missing")
    data_set = Dataset()
    data_set.update({e.tag: e for e in attributes if e.keyword != "TransactionUID"})
    data_set.SOPClassUID = "1.2.840.10008.5.1.4.34.6.1"
    data_set.SOPInstanceUID = uid
    data_set.ScheduledProcedureStepModificationDateTime = date_time()
    return Workitem(uid, data_set)
