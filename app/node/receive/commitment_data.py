"""Data sets of storage commitment (PS3.4 J.3) and which objects the spool keeps."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom.dsutils import decode, encode

from app.node.encoded_header import UnreadableObject, checked_uid
from app.node.part10 import read_file_meta
from app.node.receive.channel import CommitmentReport
from app.node.spool import Spool, name_of

# Failure Reason (0008,1197), PS3.3 C.14.1.1.
NO_SUCH_OBJECT, CLASS_CONFLICT = 0x0112, 0x0119


@dataclass(frozen=True)
class Reference:
    """One object that is referred to.

    Attributes:
        sop_class_uid: (0008,1150).
        sop_instance_uid: (0008,1155).
        failure: Failure Reason (0008,1197) where it is not kept; 0 where it is or is asked for.
    """

    sop_class_uid: str
    sop_instance_uid: str
    failure: int = 0


@dataclass(frozen=True)
class Transaction:
    """A request for storage commitment, or the report on one.

    Attributes:
        uid: Transaction UID (0008,1195).
        references: objects concerned.
    """

    uid: str
    references: tuple[Reference, ...]

    @property
    def has_failures(self) -> bool:
        """Whether any object is not kept."""
        return any(reference.failure for reference in self.references)

    def report(self) -> CommitmentReport:
        """A report as those who wait for it take it."""
        return CommitmentReport(
            transaction_uid=self.uid,
            committed=tuple(one.sop_instance_uid for one in self.references if not one.failure),
            failed=tuple(
                (one.sop_instance_uid, one.failure) for one in self.references if one.failure
            ),
            complete=True,
        )


def decoded_transaction(encoded: bytes, transfer_syntax: str) -> Transaction:
    """Read the data set of a request or a report.

    Raises:
        UnreadableObject: it is not one.
    """
    try:
        implicit = transfer_syntax == ImplicitVRLittleEndian
        data_set = decode(io.BytesIO(encoded), implicit, True)
    except Exception as error:  # noqa: BLE001 - whatever a stranger's bytes make of the decoder
        raise UnreadableObject(f"it cannot be decoded ({type(error).__name__})") from None
    return transaction_of(data_set)


def transaction_of(data_set: Dataset) -> Transaction:
    """The request or report in a data set.

    Raises:
        UnreadableObject: there is none.
    """
    try:
        references = [
            *(_reference(item) for item in data_set.get("ReferencedSOPSequence") or ()),
            *(_reference(item, failed=True) for item in data_set.get("FailedSOPSequence") or ()),
        ]
        uid = str(data_set.get("TransactionUID") or "")
    except UnreadableObject:
        raise
    except Exception as error:  # noqa: BLE001 - elements are decoded when they are looked at
        raise UnreadableObject(f"it cannot be decoded ({type(error).__name__})") from None
    if not references:
        raise UnreadableObject("it refers to no object")
    return Transaction(checked_uid(uid, "Transaction UID"), tuple(references))


def _reference(item: Dataset, *, failed: bool = False) -> Reference:
    return Reference(
        checked_uid(str(item.get("ReferencedSOPClassUID") or ""), "Referenced SOP Class UID"),
        checked_uid(str(item.get("ReferencedSOPInstanceUID") or ""), "Referenced Instance UID"),
        int(item.get("FailureReason") or 0x0110) if failed else 0,
    )


def data_set_of(transaction: Transaction) -> Dataset:
    """The data set of a request (no failures) or a report."""
    data_set = Dataset()
    data_set.TransactionUID = transaction.uid
    kept = [_item(one) for one in transaction.references if not one.failure]
    failed = [_item(one) for one in transaction.references if one.failure]
    if kept:
        data_set.ReferencedSOPSequence = kept
    if failed:
        data_set.FailedSOPSequence = failed
    return data_set


def _item(reference: Reference) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = reference.sop_class_uid
    item.ReferencedSOPInstanceUID = reference.sop_instance_uid
    if reference.failure:
        item.FailureReason = reference.failure
    return item


def encoded_transaction(transaction: Transaction, transfer_syntax: str) -> bytes:
    """The data set of a request or a report, little endian."""
    implicit = transfer_syntax == ImplicitVRLittleEndian
    encoded = encode(data_set_of(transaction), implicit, True)
    assert encoded is not None, "checked UIDs can be encoded"
    return encoded


def looked_up(spool: Spool, asked: Transaction) -> Transaction:
    """The report on a request: which of the objects have a file in the spool."""
    wanted = {f"{name_of(one.sop_instance_uid)}.dcm" for one in asked.references}
    present = {path.name: path for path in spool.files() if path.name in wanted}
    return Transaction(asked.uid, tuple(_answers(asked.references, present)))


def _answers(references: Sequence[Reference], present: dict[str, Path]) -> list[Reference]:
    answers = []
    for reference in references:
        path = present.get(f"{name_of(reference.sop_instance_uid)}.dcm")
        kept_class = None if path is None else _class_in(path)
        failure = 0
        if kept_class is None:
            failure = NO_SUCH_OBJECT
        elif kept_class != reference.sop_class_uid:
            failure = CLASS_CONFLICT
        answers.append(Reference(reference.sop_class_uid, reference.sop_instance_uid, failure))
    return answers


def _class_in(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return read_file_meta(file)[0].sop_class_uid
    except (OSError, UnreadableObject):
        return None
