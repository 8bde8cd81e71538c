"""Storage commitment push model (PS3.4 annex J): as provider, and reports of other providers.

Asked whether objects are kept, the node looks for their files. The report goes over the
association that asked, or, where the allow-list names an address for it, over a new one.
"""

from __future__ import annotations

import logging
import threading
import time
from abc import ABC, abstractmethod

from pydicom.uid import UID
from pynetdicom import AE
from pynetdicom.presentation import build_role

from app.node.answers import keep_answers
from app.node.encoded_header import UnreadableObject
from app.node.receive.command import Status, event_report, response
from app.node.receive.commitment_data import (
    Transaction,
    data_set_of,
    decoded_transaction,
    encoded_transaction,
    looked_up,
)
from app.node.receive.message import Handler, Refused, Reply, Request
from app.node.receive.negotiation import STORAGE_COMMITMENT

_LOG = logging.getLogger(__name__)
COMMITMENT_INSTANCE = "1.2.840.10008.1.20.1.1"  # well-known (PS3.4 J.3.5)
_REQUEST_STORAGE_COMMITMENT = 1
_ALL_COMMITTED, _FAILURES_EXIST = 1, 2
_LONGEST_DATA_SET = 32 * 1024 * 1024
_ATTEMPTS_AFTER_SECONDS = (0.2, 5.0, 30.0, 120.0)
_ACTION_TYPE, _EVENT_TYPE = 0x1008, 0x1002


def request_commitment(request: Request) -> Handler:
    """What takes the data set of an N-ACTION request."""
    command = request.command
    if request.context.abstract_syntax != STORAGE_COMMITMENT:
        return Refused(command, Status.CLASS_NOT_SUPPORTED, "only storage commitment has actions")
    if command.sop_instance_uid != COMMITMENT_INSTANCE:
        return Refused(command, Status.NO_SUCH_INSTANCE, "there is one well-known instance")
    if command.type_id != _REQUEST_STORAGE_COMMITMENT:
        return Refused(command, Status.NO_SUCH_ACTION, "there is one action: 1")
    if not command.has_data_set:
        return Refused(command, Status.INVALID_ARGUMENT, "the request has no data set")
    return _CommitmentRequest(request)


def take_report(request: Request) -> Handler:
    """What takes the data set of an N-EVENT-REPORT request."""
    command = request.command
    if request.context.abstract_syntax != STORAGE_COMMITMENT:
        return Refused(command, Status.CLASS_NOT_SUPPORTED, "no reports of this class are taken")
    if command.type_id not in (_ALL_COMMITTED, _FAILURES_EXIST):
        return Refused(command, Status.NO_SUCH_EVENT_TYPE, "there are two events: 1 and 2")
    if not command.has_data_set:
        return Refused(command, Status.INVALID_ARGUMENT, "the report has no data set")
    return _Report(request)


class _DataSet(ABC):
    """Collects a data set, which is decoded when it is complete."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._encoded = bytearray()
        self._too_long = False

    def write(self, data: memoryview) -> None:
        if len(self._encoded) + len(data) > _LONGEST_DATA_SET:
            self._too_long = True
        else:
            self._encoded += data

    def abandon(self) -> None:
        self._encoded.clear()

    def finish(self) -> list[Reply]:
        command = self._request.command
        try:
            if self._too_long:
                raise UnreadableObject(f"it is longer than {_LONGEST_DATA_SET} bytes")
            transaction = decoded_transaction(
                bytes(self._encoded), self._request.context.transfer_syntax
            )
        except UnreadableObject as error:
            return [Reply(response(command, Status.INVALID_ARGUMENT, comment=str(error)))]
        return self._answer(transaction)

    @abstractmethod
    def _answer(self, transaction: Transaction) -> list[Reply]:
        """What the sender is told once the data set is read."""


class _CommitmentRequest(_DataSet):
    def _answer(self, transaction: Transaction) -> list[Reply]:
        request = self._request
        accepted = Reply(response(request.command, Status.SUCCESS, type_element=_ACTION_TYPE))
        report = looked_up(request.surroundings.spool, transaction)
        if request.terms.sender.report_to is not None:
            threading.Thread(
                target=_report_on_new_association, args=(request, report), daemon=True
            ).start()
            return [accepted]
        return [accepted, _report_on_same_association(request, report)]


class _Report(_DataSet):
    def _answer(self, transaction: Transaction) -> list[Reply]:
        self._request.surroundings.reporter.send(transaction.report())
        return [Reply(response(self._request.command, Status.SUCCESS, type_element=_EVENT_TYPE))]


def _event_type(report: Transaction) -> int:
    return _FAILURES_EXIST if report.has_failures else _ALL_COMMITTED


def _report_on_same_association(request: Request, report: Transaction) -> Reply:
    command = event_report(
        request.command.message_id,
        STORAGE_COMMITMENT,
        COMMITMENT_INSTANCE,
        _event_type(report),
    )
    return Reply(command, encoded_transaction(report, request.context.transfer_syntax))


def _report_on_new_association(request: Request, report: Transaction) -> None:
    """Report, trying again for some minutes; who gets no report asks again (PS3.4 J.3.5)."""
    assert request.terms.sender.report_to is not None
    host, _, port = request.terms.sender.report_to.rpartition(":")
    entity = AE(ae_title=request.terms.called_ae)
    entity.add_requested_context(UID(STORAGE_COMMITMENT))
    role = build_role(UID(STORAGE_COMMITMENT), scp_role=True)
    for seconds in _ATTEMPTS_AFTER_SECONDS:
        time.sleep(seconds)
        association = entity.associate(
            host, int(port), ae_title=request.terms.calling_ae, ext_neg=[role]
        )
        if not association.is_established:
            continue
        keep_answers(association)
        try:
            status, _ = association.send_n_event_report(
                data_set_of(report),
                _event_type(report),
                UID(STORAGE_COMMITMENT),
                UID(COMMITMENT_INSTANCE),
            )
        except (ValueError, RuntimeError):  # the peer did not accept the role or is gone
            continue
        finally:
            association.release()
        if "Status" in status and status.Status == Status.SUCCESS:
            return
    _LOG.error(
        "%s took no storage commitment report at %s",
        request.terms.calling_ae,
        request.terms.sender.report_to,
    )
