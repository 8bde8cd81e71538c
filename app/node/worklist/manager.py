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
from app.node.worklist.settings import ManagerSettings
from app.node.worklist.sop_classes import UPS_PULL, UPS_PUSH
from app.node.worklist.workitem import StepState

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
        with _answer_expected():
            for status, data_set in self._association.send_c_find(keys, UPS_PULL):
                _check(status, "Success", "Pending")
                if data_set is not None:
                    found.append(data_set)
        return found

    def state(self, uid: str) -> StepState:
        """State of a work item."""
        with _answer_expected():
            status, data_set = self._association.send_n_get(
                [_STATE], UPS_PUSH, UID(uid), meta_uid=UPS_PULL
            )
            _check(status)
            return StepState(str((data_set or Dataset()).get("ProcedureStepState", "")))

    def change_state(self, uid: str, wanted: StepState, transaction_uid: str) -> None:
        """Claim, complete or cancel a work item."""
        information = Dataset()
        information.ProcedureStepState = str(wanted)
        information.TransactionUID = transaction_uid
        with _answer_expected():
            status, _ = self._association.send_n_action(
                information,
                _CHANGE_STATE,
                UPS_PUSH,
                UID(uid),
                meta_uid=UPS_PULL,
            )
            _check(status)

    def update(self, uid: str, changes: Dataset, transaction_uid: str) -> None:
        """Set attributes of a work item that was claimed."""
        information = Dataset()
        information.update(changes)
        information.TransactionUID = transaction_uid
        with _answer_expected():
            status, _ = self._association.send_n_set(
                information, UPS_PUSH, UID(uid), meta_uid=UPS_PULL
            )
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


@contextmanager
def _answer_expected() -> Iterator[None]:
    """What pynetdicom raises where an association has gone, or an answer makes no sense."""
    try:
        yield
    except (RuntimeError, ValueError) as error:
        raise ManagerUnavailableError(str(error)) from None


def _check(status: Dataset, *welcome: str) -> None:
    """Raise for no answer and for failures; by default success and warnings are welcome.

    Warnings say that it was so already, or that some attributes were taken only in part.
    """
    if "Status" not in status:
        raise ManagerUnavailableError("no answer")
    if code_to_category(int(status.Status)) not in (welcome or ("Success", "Warning")):
        raise ManagerRefusedError(int(status.Status))
