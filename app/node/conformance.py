"""The tables of the network part of ``docs/conformance.md``, from what the code does.

``python -m app.node.conformance docs/conformance.md`` brings them up to date.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from pydicom.uid import UID
from pynetdicom import AllStoragePresentationContexts

from app.node.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from app.node.receive.command import Status
from app.node.receive.negotiation import (
    NO_DISK,
    NO_ROOM,
    STORAGE_COMMITMENT,
    UNKNOWN_APPLICATION_CONTEXT,
    UNKNOWN_CALLED,
    UNKNOWN_CALLING,
    VERIFICATION,
    is_storage,
)
from app.node.receive.settings import ReceiveSettings
from app.node.worklist.sop_classes import UPS_EVENT, UPS_PULL
from app.node.worklist.workitem import UpsStatus
from app.node.worklist.worklist import CLASSES

STATUS_MEANINGS: Mapping[Status, str] = {
    Status.SUCCESS: "the object, or the same one before it, is synced to disk",
    Status.NO_SUCH_INSTANCE: "storage commitment: not the well-known instance",
    Status.NO_SUCH_EVENT_TYPE: "storage commitment: an unknown event",
    Status.INVALID_ARGUMENT: "storage commitment: a data set that is no request or report",
    Status.CLASS_NOT_SUPPORTED: "the SOP class is not that of the presentation context",
    Status.NO_SUCH_ACTION: "storage commitment: an unknown action",
    Status.UNRECOGNIZED_OPERATION: "a service that is not offered at this port",
    Status.OUT_OF_RESOURCES: "the disk is almost full or refuses, or the object is too large",
    Status.DATA_SET_DOES_NOT_MATCH: (
        "the data set has another SOP Class or Instance UID than the request, "
        "or belongs to another study than the address (STOW-RS)"
    ),
    Status.CANNOT_UNDERSTAND: "a UID is missing or is none, or the data set is cut short",
    Status.TRANSFER_SYNTAX_NOT_SUPPORTED: "STOW-RS: the transfer syntax is not taken",
}
UPS_MEANINGS: Mapping[UpsStatus, str] = {
    UpsStatus.SUCCESS: "done",
    UpsStatus.INVALID_ATTRIBUTE_VALUE: (
        "no study or several, an unknown code, destination or priority, "
        "or the state among the attributes"
    ),
    UpsStatus.PROCESSING_FAILURE: "a fault of the node, or a data set that cannot be decoded",
    UpsStatus.DUPLICATE_INSTANCE: "there is such a work item already",
    UpsStatus.INVALID_ARGUMENT: "a UID or state that is none",
    UpsStatus.MISSING_ATTRIBUTE: "priority, label or input information is missing",
    UpsStatus.NO_SUCH_ACTION: "an unknown action",
    UpsStatus.ALREADY_CANCELED: "warning: it was cancelled before",
    UpsStatus.ALREADY_COMPLETED: "warning: it was completed before",
    UpsStatus.NOT_UPDATABLE: "it has ended",
    UpsStatus.WRONG_TRANSACTION: "the Transaction UID is not that of the claim",
    UpsStatus.ALREADY_IN_PROGRESS: "it has been claimed",
    UpsStatus.ONLY_CREATED_SCHEDULED: "a work item becomes SCHEDULED by N-CREATE alone",
    UpsStatus.FINAL_STATE_NOT_MET: "what must be known of a completed step is not",
    UpsStatus.NO_SUCH_WORKITEM: "there is no such work item",
    UpsStatus.UNKNOWN_RECEIVER: "the subscriber has no address in node.worklist.allow",
    UpsStatus.NOT_CREATED_SCHEDULED: "it was to be created in another state",
    UpsStatus.NOT_IN_PROGRESS: "nobody has claimed it",
    UpsStatus.CANNOT_CANCEL_COMPLETED: "it is completed and cannot be cancelled",
}


def _services() -> str:
    rows = [
        ("Verification", VERIFICATION, "SCP", "storage, worklist"),
        ("every storage class below, private and unknown ones", "", "SCP and SCU", "storage"),
        (UID(STORAGE_COMMITMENT).name, STORAGE_COMMITMENT, "SCP and SCU", "storage"),
        *(
            (
                UID(one).name,
                one,
                "SCP and SCU" if one == UPS_PULL else "SCP",
                "worklist",
            )
            for one in CLASSES
        ),
        (UID(UPS_EVENT).name, UPS_EVENT, "SCP, on associations of its own", "worklist"),
    ]
    return _table(("Service or SOP class", "UID", "Role", "Port"), rows)


def _limits() -> str:
    fields = ReceiveSettings.model_fields
    shown = (
        ("port", "port"),
        ("most_associations", "associations at a time"),
        ("longest_pdu", "bytes of a P-DATA-TF PDU that are taken"),
        ("greeting_seconds", "seconds to ask for an association"),
        ("idle_seconds", "seconds of silence between messages"),
        ("stalled_seconds", "seconds for the rest of a PDU"),
        ("largest_object", "bytes of an object"),
    )
    rows = [(what, f"`{name}`", str(fields[name].default)) for name, what in shown]
    rows += [
        ("Implementation Class UID", "", IMPLEMENTATION_CLASS_UID),
        ("Implementation Version Name", "", IMPLEMENTATION_VERSION_NAME),
        ("asynchronous operations", "", "one"),
    ]
    return _table(("What", "Setting in `node.receive`", "Default"), rows)


def _rejections() -> str:
    rows = [
        (str(one.result), str(one.source), str(one.diagnostic), one.reason)
        for one in (UNKNOWN_CALLED, UNKNOWN_CALLING, UNKNOWN_APPLICATION_CONTEXT, NO_DISK, NO_ROOM)
    ]
    return _table(("Result", "Source", "Reason", "When"), rows)


def _statuses() -> str:
    return _status_table(STATUS_MEANINGS)


def _ups_statuses() -> str:
    return _status_table(UPS_MEANINGS)


def _storage_classes() -> str:
    classes = {str(context.abstract_syntax) for context in AllStoragePresentationContexts}
    taken = sorted(
        (UID(one).name, one) for one in classes if is_storage(one, unknown_classes=False)
    )
    return _table(("Storage SOP class", "UID"), taken)


_TABLES: Mapping[str, Callable[[], str]] = {
    "services": _services,
    "limits": _limits,
    "rejections": _rejections,
    "statuses": _statuses,
    "statuses of work items": _ups_statuses,
    "storage classes": _storage_classes,
}


def _status_table(meanings: Mapping[Status, str] | Mapping[UpsStatus, str]) -> str:
    rows = [(f"{int(status):04X}", meaning) for status, meaning in sorted(meanings.items())]
    return _table(("Status", "When"), rows)


def _table(headings: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [list(headings)]
    lines += [["---"] * len(lines[0]), *(list(row) for row in rows)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def marks(name: str) -> tuple[str, str]:
    """The lines of a document between which a table stands."""
    return f"<!-- {name}: written by python -m app.node.conformance -->", f"<!-- end of {name} -->"


def with_tables(document: str) -> str:
    """``document`` with every table between its two marks replaced.

    Raises:
        ValueError: a mark is missing.
    """
    for name, table in _TABLES.items():
        begin, end = marks(name)
        before, found_begin, rest = document.partition(begin)
        _, found_end, after = rest.partition(end)
        if not found_begin or not found_end:
            raise ValueError(f"the document lacks the marks {begin!r} and {end!r}")
        document = f"{before}{begin}\n\n{table()}\n\n{end}{after}"
    return document


def main() -> None:
    """Rewrites the tables in the document named on the command line."""
    document = Path(sys.argv[1])
    document.write_text(with_tables(document.read_text()))


if __name__ == "__main__":
    main()
