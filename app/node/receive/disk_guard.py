"""Whether there is room on the disk for what a sender is about to send."""

from __future__ import annotations

import time

from app.node.receive.settings import ReceiveSettings
from app.node.spool import Spool

_FRESH_SECONDS = 0.1


class DiskGuard:
    """Refuses before the disk is full.

    Args:
        spool: on the disk in question.
        settings: of the watermarks.
    """

    def __init__(self, spool: Spool, settings: ReceiveSettings) -> None:
        self.spool = spool
        self.settings = settings
        self._had_room = True
        self._looked = float("-inf")

    def has_room(self) -> bool:
        """Whether the disk is above both watermarks; at most a tenth of a second ago."""
        now = time.monotonic()
        if now - self._looked > _FRESH_SECONDS:
            settings = self.settings
            self._had_room = (
                self.spool.free_bytes() >= settings.smallest_free_bytes
                and self.spool.free_fraction() >= settings.smallest_free_fraction
            )
            self._looked = now
        return self._had_room
