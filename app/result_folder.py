"""The result folder: filled out of sight, then published so that it is never half true.

Everything is written into a hidden folder inside the result folder, so that publishing is a
rename on one file system. The order makes a stop at any instant harmless: first a
``result.json`` that says "publishing", then the files, then the final ``result.json``.
A DICOM file therefore never lies in a result folder without a ``result.json`` beside it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from pathlib import Path
from types import TracebackType

from app.result_file import FILE_NAME, ResultFile, RunStatus

STAGING_PREFIX = ".quantmap-incomplete-"
_OWNER_FILE = STAGING_PREFIX + "owner"
# A process that was killed keeps its lock until the kernel has taken it down.
_SECONDS_FOR_A_DYING_OWNER = 3.0


class FolderInUseError(RuntimeError):
    """Another run is writing into the result folder."""


class ResultFolder:
    """Owns a result folder for one run.

    Used as a context manager: entering takes the lock, clears what killed runs left and makes
    the staging folder; leaving removes the staging folder and gives the lock back. The lock
    belongs to the open file, so it ends with the process, however that ends.

    Args:
        path: result folder; made when it is not there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.staging = path
        self._lock = -1

    def __enter__(self) -> ResultFolder:
        """Raises FolderInUseError, or OSError where the folder cannot be written."""
        self.path.mkdir(parents=True, exist_ok=True)
        self._lock = self._take_lock()
        self._remove_leftovers()
        self.staging = Path(tempfile.mkdtemp(prefix=STAGING_PREFIX, dir=self.path))
        self.staged_objects.mkdir()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._remove_leftovers()
        (self.path / _OWNER_FILE).unlink(missing_ok=True)
        os.close(self._lock)

    @property
    def staged_objects(self) -> Path:
        """Where the objects are written before they are published."""
        return self.staging / "objects"

    @property
    def staged_result(self) -> Path:
        """Where the worker leaves its ``result.json`` before it is published."""
        return self.staging / FILE_NAME

    def publish(self, result: ResultFile) -> None:
        """Move the staged objects into the folder and state the result.

        Objects of earlier runs go, also after a failure: a result folder never shows objects
        for which its ``result.json`` does not vouch.

        Args:
            result: final result, of which ``outputs`` names every object to be published.

        Raises:
            ValueError: an output that is named was not written.
        """
        moves = {
            self.staged_objects / output.path: self.path / output.path for output in result.outputs
        }
        for staged in moves:
            if not staged.is_file():
                raise ValueError(f"{staged.name} is named in the result but was not written")
            _sync(staged)
        if not moves:
            # A full disk may be why the run failed: make room for its result.
            shutil.rmtree(self.staged_objects)
        self._replace_earlier(result, moves)

    def _replace_earlier(self, result: ResultFile, moves: dict[Path, Path]) -> None:
        """Move files in, take those of the earlier result out, and state the final result."""
        earlier = ResultFile.read(self.path / FILE_NAME)
        stale = tuple(
            output
            for output in (earlier.outputs if earlier else ())
            if self.path / output.path not in moves.values()
        )
        if moves or stale:
            # Names all files that may be there until the end, so that the next run knows them.
            self._write_result(
                result.model_copy(
                    update={"status": RunStatus.PUBLISHING, "outputs": (*result.outputs, *stale)}
                )
            )
        for staged, published in moves.items():
            published.parent.mkdir(parents=True, exist_ok=True)
            staged.replace(published)
        for folder in {published.parent for published in moves.values()}:
            _sync(folder)
        self._remove({self.path / output.path for output in stale})
        self._write_result(result)

    def _take_lock(self) -> int:
        deadline = time.monotonic() + _SECONDS_FOR_A_DYING_OWNER
        owner = self.path / _OWNER_FILE
        while True:
            lock = os.open(owner, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # An owner that ends removes the file: a lock on a removed file is worth nothing.
                if owner.exists() and owner.stat().st_ino == os.fstat(lock).st_ino:
                    return lock
            except BlockingIOError:
                if time.monotonic() > deadline:
                    os.close(lock)
                    raise FolderInUseError(
                        f"another run is writing into {self.path}; wait for it, or name another"
                    ) from None
                time.sleep(0.05)
            os.close(lock)

    def _remove_leftovers(self) -> None:
        for leftover in self.path.glob(STAGING_PREFIX + "*"):
            if leftover.is_dir():
                shutil.rmtree(leftover)

    def _remove(self, files: set[Path]) -> None:
        for file in files:
            file.unlink(missing_ok=True)
        for folder in sorted({file.parent for file in files}, reverse=True):
            while folder != self.path and folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
                folder = folder.parent

    def _write_result(self, result: ResultFile) -> None:
        """Replace ``result.json`` in one step that survives a power cut."""
        draft = self.staging / ("next-" + FILE_NAME)
        draft.write_text(result.to_json(), encoding="utf-8")
        _sync(draft)
        draft.replace(self.path / FILE_NAME)
        _sync(self.path)


def _sync(path: Path) -> None:
    """Wait until ``path``, a file or folder, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
