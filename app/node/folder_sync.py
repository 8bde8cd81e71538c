"""Syncs folders for many writers at once: those that wait for the same folder share one sync."""

from __future__ import annotations

import os
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

_THREADS = 4


class FolderSync:
    """Makes the entries of folders survive a loss of power."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="folder-sync")
        self._lock = threading.Lock()
        self._waiting: dict[Path, Future[None]] = {}

    def begin(self, folder: Path) -> Future[None]:
        """Have a folder synced.

        Returns:
            Is done when everything that was in the folder at the time of this call is safe;
            raises the OSError of a disk that refuses.
        """
        with self._lock:
            waiting = self._waiting.get(folder)
            if waiting is None:
                waiting = self._threads.submit(self._sync, folder)
                self._waiting[folder] = waiting
            return waiting

    def _sync(self, folder: Path) -> None:
        # Whoever asks from now on may have come too late for this one.
        with self._lock:
            self._waiting.pop(folder, None)
        sync_folder(folder)


def sync_folder(folder: Path) -> None:
    """Make the entries of a folder survive a loss of power.

    Raises:
        OSError: it is not there, or the disk refuses.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
