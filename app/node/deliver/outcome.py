"""What became of one object at one target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from app.node.encoded_header import UnreadableObject
from app.node.part10 import FileMeta, read_file_meta


class OutcomeState(StrEnum):
    """How a delivery ended.

    ``TRANSIENT``: the target or the way to it is in trouble, or refuses this node, which may be
    different tomorrow. ``PERMANENT``: the target refuses the object and will again.
    ``COMMITTED``: delivered, and the target has committed itself to keep it.
    """

    DELIVERED = "delivered"
    COMMITTED = "committed"
    TRANSIENT = "transient"
    PERMANENT = "permanent"


@dataclass(frozen=True)
class Outcome:
    """What became of one object.

    Attributes:
        path: its file.
        sop_instance_uid: of the object; empty where the file is not DICOM.
        state: how it ended.
        reason: why, or a warning of the target; empty where all is well.
    """

    path: Path
    sop_instance_uid: str
    state: OutcomeState
    reason: str = ""

    @property
    def arrived(self) -> bool:
        """Whether the object is at the target."""
        return self.state in (OutcomeState.DELIVERED, OutcomeState.COMMITTED)


@dataclass(frozen=True)
class Parcel:
    """An object to be delivered.

    Attributes:
        path: its file.
        meta: its file meta information.
        data_set_at: where its data set begins in the file.
    """

    path: Path
    meta: FileMeta
    data_set_at: int

    def outcome(self, state: OutcomeState, reason: str = "") -> Outcome:
        """What became of it."""
        return Outcome(self.path, self.meta.sop_instance_uid, state, reason)


def parcels_of(files: Sequence[Path]) -> tuple[list[Parcel], list[Outcome]]:
    """Open every file.

    Returns:
        Those that are DICOM objects, and the outcomes of those that are not or are not there.
    """
    parcels, failures = [], []
    for path in files:
        try:
            with path.open("rb") as file:
                meta, data_set_at = read_file_meta(file)
        except (OSError, UnreadableObject) as error:
            reason = f"the file cannot be sent: {error}"
            if isinstance(error, OSError):
                reason = f"the file cannot be read: {error.strerror}"
            failures.append(Outcome(path, "", OutcomeState.PERMANENT, reason))
        else:
            parcels.append(Parcel(path, meta, data_set_at))
    return parcels, failures
