"""Whether there is room on the disk for what a sender is about to send."""

from __future__ import annotations

from dataclasses import dataclass

from app.node.receive.settings import ReceiveSettings
from app.node.spool import Spool


@dataclass(frozen=True)
class DiskGuard:
    """Refuses before the disk is full.

    Attributes:
        spool: on the disk in question.
        settings: of the watermark.
    """

    spool: Spool
    settings: ReceiveSettings

    def has_room(self) -> bool:
        """Whether the disk is above both watermarks."""
        return (
            self.spool.free_bytes() >= self.settings.smallest_free_bytes
            and self.spool.free_fraction() >= self.settings.smallest_free_fraction
        )
