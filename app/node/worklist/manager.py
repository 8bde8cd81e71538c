"""The worklist of a workflow manager, as performer: find, claim, update, end (PS3.4 annex CC)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import UID
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.status import code_to_category

from app.node.answers import keep_answers
from app.node.worklist.notifier import UPS_PUSH
from app.node.worklist.settings import ManagerSettings
from app.node.worklist.workitem import StepState

UPS_PULL = UID("1.2.840.10008.5.1.4.34.6.3")
_CHANGE_STATE = 1
_STATE = Tag("ProcedureStepState")
# What an order is read from, and whether it may be begun.
_ASKED = (
    "SOPClassUID",
    "SOPInstanceUID",
    "ScheduledProcedureStepPriority",
    "ProcedureStepLabel",
    "InputReadinessState",
)
_ASKED_SEQUENCES = (
    "InputInformationSequence",
    "ScheduledWorkitemCodeSequence",
    "OutputDestinationSequence",
)


class ManagerUnavailableError(Exception):
    """The manager cannot be reached, or gave no answer: ask again later.

    Args:
        why: in a few words.
    """


class ManagerRefusedError(Exception):
    """The manager does not allow what was asked of it.

    Args:
        status: of its answer.
    """

    def __init__(self, status: int) -> None:
        self.status = status
        super().__init__(f"status {status:04X}")


class ManagersList:
    """What a performer may do with a manager's work items.

    Every method raises ManagerUnavailableError where there is no answer, and ManagerRefusedError
    where it is a failure.

    Args:
        association: with the manager.
    """

    def __init__(self, association: Association) -> None:
        self._association = association

    def scheduled(self) -> list[Dataset]:
        """Work items that nobody has claimed."""
        keys = Dataset()
        for keyword in _ASKED:
            setattr(keys, keyword, "")
        for keyword in _ASKED_SEQUENCES:
            setattr(keys, keyword, [])
        keys.ProcedureStepState = str(StepState.SCHEDULED)
        found = []
        try:
            for status, data_set in self._association.send_c_find(keys, UPS_PULL):
                if not _is_pending(status):
                    _check(status)
                elif data_set is not None:
                    found.append(data_set)
        except (RuntimeError, ValueError) as error:
            raise ManagerUnavailableError(str(error)) from None
        return found

    def state(self, uid: str) -> StepState:
        """State of a work item."""
        try:
            status, data_set = self._association.send_n_get(
                [_STATE], UPS_PUSH, UID(uid), meta_uid=UPS_PULL
            )
        except (RuntimeError, ValueError) as error:
            raise ManagerUnavailableError(str(error)) from None
        _check(status)
        try:
            return StepState(str(data_set.ProcedureStepState))  # type: ignore[union-attr]
        except (AttributeError, ValueError):
            raise ManagerUnavailableError("the answer holds no state") from None

    def change_state(self, uid: str, wanted: StepState, transaction_uid: str) -> None:
        """Claim, complete or cancel a work item."""
        information = Dataset()
        information.ProcedureStepState = str(wanted)
        information.TransactionUID = transaction_uid
        try:
            status, _ = self._association.send_n_action(
                information, _CHANGE_STATE, UPS_PUSH, UID(uid), meta_uid=UPS_PULL
            )
        except (RuntimeError, ValueError) as error:
            raise ManagerUnavailableError(str(error)) from None
        _check(status)

    def update(self, uid: str, changes: Dataset, transaction_uid: str) -> None:
        """Set attributes of a work item that was claimed."""
        information = Dataset()
        information.update(changes)
        information.TransactionUID = transaction_uid
        try:
            status, _ = self._association.send_n_set(
                information, UPS_PUSH, UID(uid), meta_uid=UPS_PULL
            )
        except (RuntimeError, ValueError) as error:
            raise ManagerUnavailableError(str(error)) from None
        _check(status)


@contextmanager
def managers_list(manager: ManagerSettings) -> Iterator[ManagersList]:
    """An association with a manager, for as long as it is needed.

    Raises:
        ManagerUnavailableError: there is none to be had.
    """
    entity = AE(ae_title=manager.calling_ae)
    entity.connection_timeout = entity.acse_timeout = entity.dimse_timeout = manager.seconds
    entity.add_requested_context(UPS_PULL)
    try:
        tls = (manager.tls.context(), manager.host) if manager.tls is not None else None
        association = entity.associate(
            manager.host, manager.port, ae_title=manager.ae_title, tls_args=tls
        )
    except OSError as error:
        raise ManagerUnavailableError(error.strerror or str(error)) from None
    if not association.is_established:
        raise ManagerUnavailableError("no association")
    try:
        yield ManagersList(keep_answers(association))
    finally:
        if association.is_established:
            association.release()


def _is_pending(status: Dataset) -> bool:
    return "Status" in status and code_to_category(status.Status) == "Pending"


def _check(status: Dataset) -> None:
    if "Status" not in status:
        raise ManagerUnavailableError("no answer")
    # Warnings: it was so already, or some attributes were taken only in part.
    if status.Status != 0 and not _is_warning(int(status.Status)):
        raise ManagerRefusedError(int(status.Status))


def _is_warning(status: int) -> bool:
    return status == 1 or status >> 12 == 0xB
