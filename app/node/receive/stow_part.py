"""One part of a STOW-RS request: a DICOM file that is written as it comes."""

from __future__ import annotations

from dataclasses import dataclass, replace

from app.node.arrival import Arrival, Origin
from app.node.encoded_header import UnreadableObject
from app.node.part10 import FIXED_LENGTH, decoded_file_meta, meta_length
from app.node.receive.command import Status
from app.node.receive.disk_guard import DiskGuard
from app.node.receive.negotiation import is_storage, is_transfer_syntax_taken
from app.node.spool import IncomingObject
from app.node.spool_file import MismatchedObject


@dataclass(frozen=True)
class StowFailure:
    """An object that was not stored.

    Attributes:
        sop_class_uid: empty where it is not known.
        sop_instance_uid: empty where it is not known.
        reason: Failure Reason (0008,1197).
        explanation: for a human.
    """

    sop_class_uid: str
    sop_instance_uid: str
    reason: int
    explanation: str


class StowPart:
    """Takes a DICOM file piece by piece; at most half a megabyte of it is in memory.

    Args:
        disk: of the spool, and its settings.
        origin: who sends it.
        study_instance_uid: to which it must belong, where the address names one.
    """

    def __init__(self, disk: DiskGuard, origin: Origin, study_instance_uid: str | None) -> None:
        self._disk = disk
        self._origin = origin
        self._study = study_instance_uid
        self._header = bytearray()
        self._incoming: IncomingObject | None = None
        self._known = ("", "")
        self.failure: StowFailure | None = None

    def write(self, data: bytes | memoryview) -> None:
        """Take the next bytes; after a failure they are dropped."""
        if self.failure is not None:
            return
        try:
            if self._incoming is None:
                self._take_header(data)
            else:
                self._take_data(data)
        except UnreadableObject as error:
            self.fail(Status.CANNOT_UNDERSTAND, str(error))
        except OSError as error:
            self._fail_by_disk(error)

    def _take_header(self, data: bytes | memoryview) -> None:
        self._header += data
        if len(self._header) < FIXED_LENGTH:
            return
        length = meta_length(self._header)
        if len(self._header) < length:
            return
        meta = decoded_file_meta(memoryview(self._header)[:length])
        self._known = (meta.sop_class_uid, meta.sop_instance_uid)
        settings = self._disk.settings
        if not is_storage(meta.sop_class_uid, unknown_classes=settings.unknown_classes):
            self.fail(Status.CLASS_NOT_SUPPORTED, "objects of this SOP class are not taken")
        elif not is_transfer_syntax_taken(meta.transfer_syntax_uid):
            self.fail(Status.TRANSFER_SYNTAX_NOT_SUPPORTED, "the transfer syntax is not taken")
        elif not self._disk.has_room():
            self.fail(Status.OUT_OF_RESOURCES, "the disk is almost full")
        else:
            meta = replace(meta, origin=self._origin, data_set_length=None)
            self._incoming = self._disk.spool.begin(meta)
            rest = bytes(memoryview(self._header)[length:])
            self._header = bytearray()
            self._take_data(rest)

    def _take_data(self, data: bytes | memoryview) -> None:
        assert self._incoming is not None
        most = self._disk.settings.largest_object
        if self._incoming.size + len(data) > most:
            self.fail(Status.OUT_OF_RESOURCES, f"the object is larger than {most} bytes")
        else:
            self._incoming.write(data)

    def finish(self) -> Arrival | None:
        """The part is complete: its arrival, or None where ``failure`` says why not."""
        if self.failure is not None:
            return None
        if self._incoming is None:
            self.fail(Status.CANNOT_UNDERSTAND, "it is not a DICOM file (PS3.10)")
            return None
        try:
            return self._incoming.commit(self._study)
        except MismatchedObject as error:
            self.fail(Status.DATA_SET_DOES_NOT_MATCH, str(error))
        except UnreadableObject as error:
            self.fail(Status.CANNOT_UNDERSTAND, str(error))
        except OSError as error:
            self._fail_by_disk(error)
        return None

    def fail(self, reason: int, explanation: str) -> None:
        """Give up on the part."""
        self.failure = StowFailure(*self._known, reason, explanation)
        self.abandon()

    def _fail_by_disk(self, error: OSError) -> None:
        reason = error.strerror or type(error).__name__
        self.fail(Status.OUT_OF_RESOURCES, f"it cannot be written: {reason}")

    def abandon(self) -> None:
        """The rest of the part will not come."""
        self._header = bytearray()
        if self._incoming is not None:
            self._incoming.discard()
