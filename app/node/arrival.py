"""What arrived: one object that is safely on disk, and who sent it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

Transport = Literal["dimse", "stow", "folder"]


@dataclass(frozen=True)
class Origin:
    """Who handed an object over, and how.

    Attributes:
        calling_ae: AE title of the sender; empty where it has none.
        called_ae: AE title that it called.
        peer_address: network address of the sender, without a port.
        transport: how it came.
    """

    calling_ae: str
    called_ae: str
    peer_address: str
    transport: Transport


@dataclass(frozen=True)
class Arrival:
    """One object in the spool.

    Holds UIDs and an accession number in clear: for the ledger, never for a log.

    Attributes:
        path: its file.
        study_instance_uid: (0020,000D).
        series_instance_uid: (0020,000E).
        sop_instance_uid: (0008,0018).
        sop_class_uid: (0008,0016).
        modality: (0008,0060); empty where absent.
        accession_number: (0008,0050); empty where absent.
        calling_ae: AE title of the sender.
        called_ae: AE title that it called.
        peer_address: network address of the sender.
        transport: how it came.
        received: when its file was made (UTC).
        size: bytes of the file.
        repeated: the same object had arrived before; there is no second file.
        conflicting: another object with this SOP Instance UID had arrived before; both are
            kept, each in its own file.
    """

    path: Path
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    modality: str
    accession_number: str
    calling_ae: str
    called_ae: str
    peer_address: str
    transport: Transport
    received: datetime
    size: int
    repeated: bool = False
    conflicting: bool = False

    def to_json(self) -> str:
        """One line of JSON."""
        # Not ``asdict``, which copies deeply and takes longer than all else about an arrival.
        values = vars(self) | {"path": str(self.path), "received": self.received.isoformat()}
        return json.dumps(values)

    @classmethod
    def from_json(cls, text: str | bytes) -> Arrival:
        """The arrival that ``to_json`` wrote."""
        values = json.loads(text)
        values["path"] = Path(values["path"])
        values["received"] = datetime.fromisoformat(values["received"])
        return cls(**values)
