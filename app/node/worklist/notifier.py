"""Tells subscribers what becomes of work items (UPS Event SOP class, PS3.4 CC.2.4)."""

from __future__ import annotations

import logging
import queue
import threading
from dataclasses import dataclass

from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import AE
from pynetdicom.presentation import build_role

from app.node.answers import keep_answers
from app.node.worklist.settings import WorklistSettings
from app.node.worklist.sop_classes import UPS_EVENT, UPS_PUSH
from app.node.worklist.workitem import Workitem

_LOG = logging.getLogger(__name__)
STATE_REPORT, CANCEL_REQUESTED, PROGRESS_REPORT = 1, 2, 3
_SECONDS = 10
_MOST_WAITING = 10_000
_ATTEMPTS_AFTER_SECONDS = (0.0, 2.0, 10.0)


@dataclass(frozen=True)
class _Event:
    receiver: str
    uid: str
    event_type: int
    information: Dataset


class Notifier(threading.Thread):
    """Sends events one after the other, each over an association of its own.

    Args:
        settings: addresses of subscribers.
    """

    def __init__(self, settings: WorklistSettings) -> None:
        super().__init__(name="ups-notifier", daemon=True)
        self._settings = settings
        self._waiting: queue.Queue[_Event | None] = queue.Queue(_MOST_WAITING)
        self._stopping = threading.Event()

    def address_of(self, ae_title: str) -> tuple[str, int] | None:
        """Where a subscriber takes reports, or None where that is not configured."""
        for sender in self._settings.allow:
            if sender.ae_title == ae_title and sender.report_to is not None:
                host, _, port = sender.report_to.rpartition(":")
                return host, int(port)
        return None

    def state_changed(self, item: Workitem) -> None:
        """Report the state of a work item to those who follow it."""
        information = Dataset()
        information.ProcedureStepState = item.data_set.ProcedureStepState
        information.InputReadinessState = item.data_set.get("InputReadinessState") or "READY"
        cancellation = item.progress().get("ReasonForCancellation")
        if cancellation:
            information.ReasonForCancellation = cancellation
        self._tell(item, STATE_REPORT, information)

    def progressed(self, item: Workitem) -> None:
        """Report the progress of a work item to those who follow it."""
        information = Dataset()
        information.ProcedureStepProgressInformationSequence = [item.progress()]
        self._tell(item, PROGRESS_REPORT, information)

    def cancel_requested(self, item: Workitem, by: str, request: Dataset) -> None:
        """Report to those who follow a work item that somebody wants it to be cancelled."""
        information = Dataset()
        information.RequestingAE = by
        for keyword in ("ReasonForCancellation", "ContactURI", "ContactDisplayName"):
            if keyword in request:
                information.add(request[keyword])
        self._tell(item, CANCEL_REQUESTED, information)

    def _tell(self, item: Workitem, event_type: int, information: Dataset) -> None:
        for receiver in item.subscribers:
            try:
                self._waiting.put_nowait(_Event(receiver, item.uid, event_type, information))
            except queue.Full:
                _LOG.error("an event for %s is dropped: too many wait", receiver)

    def stop(self) -> None:
        """End after what is being sent now."""
        self._stopping.set()
        self._waiting.put(None)
        self.join(2 * _SECONDS)

    def run(self) -> None:
        """Send until the end."""
        while (event := self._waiting.get()) is not None and not self._stopping.is_set():
            if not any(self._sent_after(seconds, event) for seconds in _ATTEMPTS_AFTER_SECONDS):
                _LOG.error("%s took no event of a work item", event.receiver)

    def _sent_after(self, seconds: float, event: _Event) -> bool:
        if self._stopping.wait(seconds):
            return False
        address = self.address_of(event.receiver)
        if address is None:
            return False
        entity = AE(ae_title=self._settings.ae_title)
        entity.connection_timeout = entity.acse_timeout = entity.dimse_timeout = _SECONDS
        entity.add_requested_context(UPS_EVENT)
        role = build_role(UPS_EVENT, scp_role=True)
        association = entity.associate(*address, ae_title=event.receiver, ext_neg=[role])
        if not association.is_established:
            return False
        keep_answers(association)
        try:
            status, _ = association.send_n_event_report(
                event.information, event.event_type, UPS_PUSH, UID(event.uid), meta_uid=UPS_EVENT
            )
        except (ValueError, RuntimeError):  # the role was not accepted, or the peer is gone
            return False
        finally:
            association.release()
        return "Status" in status and status.Status == 0
