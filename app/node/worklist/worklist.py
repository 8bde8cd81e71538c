"""The worklist at its port: Unified Procedure Steps as provider (PS3.4 annex CC, pynetdicom).

Push (N-CREATE, request to cancel), Pull (C-FIND, claim, update, complete, cancel), Watch
(subscriptions, N-GET) and Query.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import AE, evt
from pynetdicom.transport import ThreadedAssociationServer

from app.node.encoded_header import UnreadableObject, checked_uid
from app.node.worklist.matching import matches, told
from app.node.worklist.notifier import Notifier
from app.node.worklist.settings import WorklistSettings
from app.node.worklist.sop_classes import UPS_PULL, UPS_PUSH, UPS_QUERY, UPS_WATCH
from app.node.worklist.workitem import (
    StepState,
    UpsProblem,
    UpsStatus,
    Workitem,
    created,
)
from app.node.worklist.workitem_store import WorkitemStore

_LOG = logging.getLogger(__name__)
_VERIFICATION = UID("1.2.840.10008.1.1")
CLASSES = (UPS_PUSH, UPS_WATCH, UPS_PULL, UPS_QUERY)
_GLOBAL_SUBSCRIPTION = "1.2.840.10008.5.1.4.34.5"
_CHANGE_STATE, _REQUEST_CANCEL, _SUBSCRIBE, _UNSUBSCRIBE, _SUSPEND_GLOBAL = 1, 2, 3, 4, 5
_PENDING, _CANCELLED = 0xFF00, 0xFE00
_MOST_ASSOCIATIONS = 32
_SECONDS = 30


class Worklist:
    """Answers requests about work items.

    Args:
        settings: of the worklist.
        store: of the work items.
        notifier: tells subscribers.
        check: raises UpsProblem for a new work item that cannot be performed here.
        cancel: asks whoever performs a work item in this node to stop; whether anybody does.
        wake: says that there is something to perform.
    """

    def __init__(
        self,
        settings: WorklistSettings,
        store: WorkitemStore,
        notifier: Notifier,
        check: Callable[[Dataset], None],
        cancel: Callable[[Workitem], bool],
        wake: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._store = store
        self._notifier = notifier
        self._check = check
        self._cancel = cancel
        self._wake = wake
        self._server: ThreadedAssociationServer | None = None

    def start(self) -> None:
        """Listen.

        Raises:
            OSError: the address or port cannot be had, or a TLS file is missing or wrong.
        """
        settings = self._settings
        if not settings.allow:
            _LOG.warning("nobody may use the worklist: node.worklist.allow is empty")
        entity = AE(ae_title=settings.ae_title)
        entity.require_called_aet = True
        entity.maximum_associations = _MOST_ASSOCIATIONS
        entity.network_timeout = entity.acse_timeout = entity.dimse_timeout = _SECONDS
        for sop_class in (_VERIFICATION, *CLASSES):
            entity.add_supported_context(sop_class)
        self._server = entity.start_server(
            (settings.host, settings.port),
            block=False,
            ssl_context=settings.tls.context() if settings.tls else None,
            evt_handlers=[
                (evt.EVT_REQUESTED, self._admit),
                (evt.EVT_N_CREATE, self._answered(self._create)),
                (evt.EVT_N_SET, self._answered(self._set)),
                (evt.EVT_N_GET, self._answered(self._get)),
                (evt.EVT_N_ACTION, self._answered(self._act)),
                (evt.EVT_C_FIND, self._find),
            ],
        )

    @property
    def port(self) -> int:
        """The port that is listened on."""
        assert self._server is not None, "the worklist was not started"
        return int(self._server.server_address[1])

    def stop(self) -> None:
        """Take no more requests."""
        if self._server is not None:
            self._server.shutdown()

    def _admit(self, event: evt.Event) -> None:
        """Reject who is not on the allow-list (PS3.8 table 9-21)."""
        requestor = event.assoc.requestor
        title = str(getattr(requestor.primitive, "calling_ae_title", "")).strip()
        if not any(one.matches(title, requestor.address) for one in self._settings.allow):
            _LOG.warning("association of %s with the worklist rejected", requestor.address)
            event.assoc.acse.send_reject(0x01, 0x01, 0x03)

    @staticmethod
    def _answered(
        work: Callable[[evt.Event], Dataset | int | None],
    ) -> Callable[[evt.Event], tuple[Dataset | int, Dataset | None]]:
        """A handler that answers with what ``work`` gives, or with its problem."""

        def handler(event: evt.Event) -> tuple[Dataset | int, Dataset | None]:
            try:
                answer = work(event)
            except UpsProblem as problem:
                return _failure(problem.status, problem.comment), None
            except Exception as error:  # noqa: BLE001 - elements are decoded when looked at
                _LOG.error("a request to the worklist failed", exc_info=error)
                comment = f"{type(error).__name__} while it was processed"
                return _failure(UpsStatus.PROCESSING_FAILURE, comment), None
            if isinstance(answer, int):
                return answer, None
            return int(UpsStatus.SUCCESS), answer

        return handler

    def _create(self, event: evt.Event) -> Dataset:
        item = created(_uid(event, "AffectedSOPInstanceUID"), event.attribute_list)
        if self._settings.perform:
            self._check(item.data_set)
        self._store.add(item)
        _LOG.info("work item created")
        self._notifier.state_changed(item)
        self._wake()
        return item.data_set

    def _set(self, event: evt.Event) -> Dataset:
        changes = event.modification_list
        uid = _uid(event, "RequestedSOPInstanceUID")
        with self._store.changing(uid) as item:
            item.update(changes, str(changes.get("TransactionUID") or ""))
        self._notifier.progressed(item)
        return item.data_set

    def _get(self, event: evt.Event) -> Dataset:
        item = self._store.get(_uid(event, "RequestedSOPInstanceUID"))
        wanted = set(event.attribute_identifiers)
        answer = Dataset()
        answer.update({e.tag: e for e in item.data_set if not wanted or e.tag in wanted})
        return answer

    def _act(self, event: evt.Event) -> Dataset | int | None:
        uid = _uid(event, "RequestedSOPInstanceUID")
        given = getattr(event.request, "ActionInformation", None)
        information = Dataset() if given is None else event.action_information
        if event.action_type == _CHANGE_STATE:
            return self._change_state(uid, information)
        if event.action_type == _REQUEST_CANCEL:
            caller = str(event.assoc.requestor.ae_title).strip()
            return self._request_cancel(uid, caller, information)
        if event.action_type in (_SUBSCRIBE, _UNSUBSCRIBE, _SUSPEND_GLOBAL):
            return self._change_subscription(uid, event.action_type, information)
        raise UpsProblem(UpsStatus.NO_SUCH_ACTION, "there are the actions 1 to 5")

    def _change_state(self, uid: str, information: Dataset) -> int:
        try:
            wanted = StepState(information.get("ProcedureStepState") or "")
        except ValueError:
            raise UpsProblem(UpsStatus.INVALID_ARGUMENT, "there is no such state") from None
        with self._store.changing(uid) as item:
            status = item.change_state(wanted, str(information.get("TransactionUID") or ""))
        if status is UpsStatus.SUCCESS:
            self._notifier.state_changed(item)
        return int(status)

    def _request_cancel(self, uid: str, by: str, information: Dataset) -> int:
        """PS3.4 CC.2.2: the provider cancels what nobody has claimed; a performer is asked."""
        with self._store.changing(uid) as item:
            if item.state is StepState.COMPLETED:
                raise UpsProblem(UpsStatus.CANNOT_CANCEL_COMPLETED, "it is completed")
            if item.state is StepState.CANCELED:
                return int(UpsStatus.ALREADY_CANCELED)
            reason = str(information.get("ReasonForCancellation") or "")
            was_scheduled = item.state is StepState.SCHEDULED
            if reason:
                item.progress().ReasonForCancellation = reason
            if was_scheduled:
                item.change_state(StepState.IN_PROGRESS, uid)
                item.change_state(StepState.CANCELED, uid)
        if was_scheduled:
            self._notifier.state_changed(item)
        elif not self._cancel(item):
            self._notifier.cancel_requested(item, by, information)
        return int(UpsStatus.SUCCESS)

    def _change_subscription(self, uid: str, action: int, information: Dataset) -> int:
        title = str(information.get("ReceivingAE") or "").strip()
        if self._notifier.address_of(title) is None:
            raise UpsProblem(UpsStatus.UNKNOWN_RECEIVER, "its address is not in worklist.allow")
        if uid == _GLOBAL_SUBSCRIPTION:
            if action == _SUBSCRIBE:
                self._store.subscribe_to_all(title)
            else:
                self._store.unsubscribe_from_all(title, present_too=action == _UNSUBSCRIBE)
            return int(UpsStatus.SUCCESS)
        with self._store.changing(uid) as item:
            item.subscribers = [one for one in item.subscribers if one != title]
            if action == _SUBSCRIBE:
                item.subscribers.append(title)
        if action == _SUBSCRIBE:
            self._notifier.state_changed(item)
        return int(UpsStatus.SUCCESS)

    def _find(self, event: evt.Event) -> Iterator[tuple[Any, Dataset | None]]:
        try:
            keys = event.identifier
            found = [
                told(item.data_set, keys)
                for item in self._store.all()
                if matches(item.data_set, keys)
            ]
        except Exception as error:  # noqa: BLE001 - elements are decoded when looked at
            _LOG.error("a query of the worklist failed", exc_info=error)
            yield 0xC000, None
            return
        for answer in found:
            if event.is_cancelled:
                yield _CANCELLED, None
                return
            yield _PENDING, answer


def _uid(event: evt.Event, parameter: str) -> str:
    try:
        return checked_uid(str(getattr(event.request, parameter, None) or ""), "SOP Instance UID")
    except UnreadableObject as error:
        raise UpsProblem(UpsStatus.INVALID_ARGUMENT, str(error)) from None


def _failure(status: UpsStatus, comment: str) -> Dataset:
    answer = Dataset()
    answer.Status = int(status)
    answer.ErrorComment = comment[:64]
    return answer
