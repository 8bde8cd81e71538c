"""Delivery by C-STORE (PS3.4 annex B), and storage commitment where the target offers it."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import UID, generate_uid
from pynetdicom import AE, _config, evt
from pynetdicom.association import Association
from pynetdicom.presentation import build_context

from app.node.answers import keep_answers
from app.node.deliver.commitments import Commitments, ExpectedReport
from app.node.deliver.outcome import Outcome, OutcomeState, Parcel
from app.node.deliver.settings import CStoreTarget
from app.node.encoded_header import UnreadableObject
from app.node.receive.commitment import COMMITMENT_INSTANCE
from app.node.receive.commitment_data import (
    Reference,
    Transaction,
    data_set_of,
    transaction_of,
)
from app.node.receive.negotiation import STORAGE_COMMITMENT

# Objects go out as they are in their files, piece by piece.
_config.STORE_SEND_CHUNKED_DATASET = True

_MOST_CONTEXTS = 128
_SUCCESS, _DUPLICATE, _PROCESSING_FAILURE = 0x0000, 0x0111, 0x0110
_REQUEST_STORAGE_COMMITMENT = 1


def deliver_by_c_store(
    target: CStoreTarget, parcels: Sequence[Parcel], commitments: Commitments
) -> list[Outcome]:
    """Send objects over one association, or several where they are of very many kinds."""
    outcomes: list[Outcome] = []
    for batch in _batches(parcels, _MOST_CONTEXTS - int(target.commitment)):
        outcomes += _batch_sent(target, batch, commitments)
    return outcomes


def _batches(parcels: Sequence[Parcel], most_contexts: int) -> Iterator[list[Parcel]]:
    batch: list[Parcel] = []
    contexts: set[tuple[str, str]] = set()
    for parcel in parcels:
        context = _context(parcel)
        if context not in contexts and len(contexts) == most_contexts:
            yield batch
            batch, contexts = [], set()
        batch.append(parcel)
        contexts.add(context)
    if batch:
        yield batch


def _context(parcel: Parcel) -> tuple[str, str]:
    return parcel.meta.sop_class_uid, parcel.meta.transfer_syntax_uid


def _batch_sent(
    target: CStoreTarget, parcels: Sequence[Parcel], commitments: Commitments
) -> list[Outcome]:
    entity = AE(ae_title=target.calling_ae)
    entity.connection_timeout = target.seconds
    entity.acse_timeout = entity.dimse_timeout = target.seconds
    entity.network_timeout = max(target.seconds, target.commitment_seconds) + 10
    contexts = [build_context(*context) for context in dict.fromkeys(map(_context, parcels))]
    if target.commitment:
        contexts.append(build_context(STORAGE_COMMITMENT))
    try:
        tls = (target.tls.context(), target.host) if target.tls is not None else None
        association = entity.associate(
            target.host,
            target.port,
            contexts,
            target.ae_title,
            tls_args=tls,
            evt_handlers=[
                (evt.EVT_CONN_OPEN, _send_at_once),
                (evt.EVT_N_EVENT_REPORT, _take_report, [commitments]),
            ],
        )
    except OSError as error:
        reason = f"the target cannot be reached: {error.strerror or error}"
        return [parcel.outcome(OutcomeState.TRANSIENT, reason) for parcel in parcels]
    if not association.is_established:
        reason = _not_established(association)
        return [parcel.outcome(OutcomeState.TRANSIENT, reason) for parcel in parcels]
    keep_answers(association)
    try:
        outcomes = [_sent(association, parcel) for parcel in parcels]
        if target.commitment:
            outcomes = _committed(target, association, parcels, outcomes, commitments)
    finally:
        if association.is_established:
            association.release()
    return outcomes


def _send_at_once(event: evt.Event) -> None:
    channel = event.assoc.dul.socket
    if channel is not None and channel.socket is not None:
        channel.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _not_established(association: Association) -> str:
    if association.is_rejected:
        primitive = association.acceptor.primitive
        reason = "" if primitive is None else f": {primitive.reason_str.lower()}"
        return f"the target rejected the association{reason}"
    return "the target cannot be reached or aborted the association"


def _sent(association: Association, parcel: Parcel) -> Outcome:
    if not association.is_established:
        return parcel.outcome(OutcomeState.TRANSIENT, "the association was lost before")
    sop_class, transfer_syntax = _context(parcel)
    accepted = association.accepted_contexts
    if not any(
        context.abstract_syntax == sop_class and transfer_syntax in context.transfer_syntax
        for context in accepted
    ):
        kind, encoding = UID(sop_class).name, UID(transfer_syntax).name
        reason = f"the target does not take {kind} in {encoding}"
        return parcel.outcome(OutcomeState.PERMANENT, reason)
    try:
        status = association.send_c_store(parcel.path)
    except (ValueError, RuntimeError, OSError, AttributeError) as error:
        if not association.is_established:
            return parcel.outcome(OutcomeState.TRANSIENT, "the association was lost")
        reason = f"the file cannot be sent: {type(error).__name__}"
        return parcel.outcome(OutcomeState.PERMANENT, reason)
    return _judged(parcel, status)


def _judged(parcel: Parcel, status: Dataset) -> Outcome:
    """By the status of the response (PS3.4 table B.2-1, PS3.7 annex C)."""
    if "Status" not in status:
        return parcel.outcome(OutcomeState.TRANSIENT, "the target did not answer")
    code = int(status.Status)
    comment = str(status.get("ErrorComment") or "")
    reason = f"status {code:#06x}" + (f": {comment}" if comment else "")
    if code == _SUCCESS:
        return parcel.outcome(OutcomeState.DELIVERED)
    if code == _DUPLICATE or code >> 12 == 0xB or code in (0x0001, 0x0107, 0x0116):
        return parcel.outcome(OutcomeState.DELIVERED, f"with {reason}")
    passing = code >> 8 == 0xA7 or code == _PROCESSING_FAILURE
    state = OutcomeState.TRANSIENT if passing else OutcomeState.PERMANENT
    return parcel.outcome(state, f"refused with {reason}")


def _committed(
    target: CStoreTarget,
    association: Association,
    parcels: Sequence[Parcel],
    outcomes: list[Outcome],
    commitments: Commitments,
) -> list[Outcome]:
    """Ask for commitment to what has arrived, and wait for the report."""
    arrived = {outcome.path for outcome in outcomes if outcome.arrived}
    asked = [parcel for parcel in parcels if parcel.path in arrived]
    if not asked:
        return outcomes
    transaction = Transaction(
        str(generate_uid()),
        tuple(Reference(one.meta.sop_class_uid, one.meta.sop_instance_uid) for one in asked),
    )
    with commitments.expected(transaction.uid) as report:
        trouble = _commitment_asked(association, transaction)
        if not trouble and not report.wait(target.commitment_seconds):
            trouble = f"no storage commitment within {target.commitment_seconds:g} s"
    return [
        _with_commitment(outcome, report, trouble) if outcome.path in arrived else outcome
        for outcome in outcomes
    ]


def _commitment_asked(association: Association, transaction: Transaction) -> str:
    """Ask; what is the trouble, or an empty text."""
    if not association.is_established:
        return "the association was lost before storage commitment"
    try:
        status, _ = association.send_n_action(
            data_set_of(transaction),
            _REQUEST_STORAGE_COMMITMENT,
            UID(STORAGE_COMMITMENT),
            UID(COMMITMENT_INSTANCE),
        )
    except ValueError:
        return "the target offers no storage commitment: turn it off or ask its administrator"
    except RuntimeError:
        return "the association was lost before storage commitment"
    if "Status" not in status:
        return "the target did not answer to storage commitment"
    if status.Status != _SUCCESS:
        return f"storage commitment refused with status {status.Status:#06x}"
    return ""


def _with_commitment(outcome: Outcome, report: ExpectedReport, trouble: str) -> Outcome:
    uid = outcome.sop_instance_uid
    if uid in report.committed:
        return Outcome(outcome.path, uid, OutcomeState.COMMITTED, outcome.reason)
    if not trouble:
        failure = report.failed.get(uid)
        trouble = "the target did not commit itself"
        if failure is not None:
            trouble += f": failure reason {failure:#06x}"
    return Outcome(outcome.path, uid, OutcomeState.TRANSIENT, trouble)


def _take_report(event: evt.Event, commitments: Commitments) -> tuple[int, Any]:
    """Answer an N-EVENT-REPORT that comes over the association that asked."""
    try:
        transaction = transaction_of(event.event_information)
    except UnreadableObject:
        return 0x0115, None
    commitments.take(transaction.report())
    return _SUCCESS, None
