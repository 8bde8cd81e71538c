"""Received objects on disk: every one synced and in its place before anybody is told so.

    incoming/                    half-written files; emptied at start
    received/STUDY/SERIES/OBJECT.dcm
    received/STUDY/SERIES/OBJECT-CONTENT.dcm   another object under the same SOP Instance UID

Names are hashes of UIDs, so nothing that a sender writes becomes part of a path. A file is
written whole before it gets its name; file and folder are then synced at the same time, which
takes one turn of the disk instead of two. What a loss of power leaves of a file that nobody was
told about is known by the length in its header. The files are the truth; who keeps a ledger of
them follows (``Spool.recover``).
"""

from __future__ import annotations

import hashlib
import itertools
import logging
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

from app.node.arrival import Arrival
from app.node.encoded_header import Encoded, Identity, UnreadableObject, read_identity
from app.node.folder_sync import FolderSync, sync_folder
from app.node.part10 import LENGTH_BYTES, FileMeta, encoded_file_meta
from app.node.spool_file import (
    IncompleteObject,
    MismatchedObject,
    Placed,
    WrittenFile,
    arrival_of,
    content_digest,
    identity_in_file,
    read_arrival,
    same_object,
)
from operators.vocabulary.refusal import hashed_uid

_LOG = logging.getLogger(__name__)
_BUFFER_BYTES = 512 * 1024
_MOST_ATTEMPTS = 5


def name_of(uid: str) -> str:
    """Forty hexadecimal digits, the file or folder name for ``uid``."""
    return hashlib.sha256(uid.encode("ascii", "replace")).hexdigest()[:40]


class Spool:
    """The folder of received objects.

    Several processes and threads may write to one spool.

    Args:
        folder: made where it is missing, with what is above it; readable for this user only.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self._incoming = self.folder / "incoming"
        self._received = self.folder / "received"
        for needed in (self.folder, self._incoming, self._received):
            needed.mkdir(parents=True, exist_ok=True, mode=0o700)
        sync_folder(self.folder)
        self._counter = itertools.count()
        self._folders = FolderSync()
        self._synced_folders: set[Path] = set()

    def begin(self, meta: FileMeta) -> IncomingObject:
        """Start to take an object.

        Args:
            meta: which object it is going to be, its encoding, and who sends it.
        """
        name = f"{os.getpid()}-{threading.get_ident()}-{next(self._counter)}"
        return IncomingObject(self, meta, self._incoming / name)

    def study_folder(self, study_instance_uid: str) -> Path:
        """Where the objects of a study are, one folder for each series."""
        return self._received / name_of(study_instance_uid)

    def series_folder(self, study_instance_uid: str, series_instance_uid: str) -> Path:
        """Where the objects of a series are."""
        return self.study_folder(study_instance_uid) / name_of(series_instance_uid)

    def remove_study(self, study_instance_uid: str) -> None:
        """Remove every object of a study; nothing happens where there is none."""
        self._remove(self.study_folder(study_instance_uid))

    def remove_series(self, study_instance_uid: str, series_instance_uid: str) -> None:
        """Remove every object of a series; nothing happens where there is none."""
        self._remove(self.series_folder(study_instance_uid, series_instance_uid))

    def _remove(self, folder: Path) -> None:
        # Moved away first, so that an object that arrives meanwhile gets a folder of its own.
        grave = self._incoming / f"removed-{os.getpid()}-{next(self._counter)}"
        try:
            folder.rename(grave)
        except FileNotFoundError:
            return
        sync_folder(folder.parent)
        shutil.rmtree(grave)

    def free_bytes(self) -> int:
        """Bytes that may still be written to the disk of the spool."""
        disk = os.statvfs(self.folder)
        return disk.f_bavail * disk.f_frsize

    def free_fraction(self) -> float:
        """Free part of the disk of the spool, from 0 to 1."""
        disk = os.statvfs(self.folder)
        return disk.f_bavail / max(disk.f_blocks, 1)

    def recover(self) -> Iterator[Arrival]:
        """Clear away what was left half-written and give every object that is present.

        To be called before anything receives.
        """
        for left in self._incoming.iterdir():
            if left.is_dir():
                shutil.rmtree(left)
            else:
                left.unlink()
        for path in self.files():
            try:
                yield read_arrival(path)
            except IncompleteObject:
                _LOG.warning("%s was never complete and is removed", path.name)
                path.unlink()
            except (UnreadableObject, OSError) as error:
                # Somebody else put it there: this node writes no such file.
                _LOG.error("%s in the spool cannot be read: %s", path.name, error)

    def files(self) -> Iterator[Path]:
        """Every file in ``received``."""
        for study in _entries(self._received):
            for series in _entries(study):
                for path in _entries(series):
                    if path.suffix == ".dcm":
                        yield path

    def place(self, written: WrittenFile, identity: Identity, meta: FileMeta) -> Placed:
        """Give a complete file its name and make both survive a loss of power.

        Args:
            written: the file, in ``incoming``; it is not there afterwards.
            identity: of its data set.
            meta: of the file.

        Raises:
            OSError: the disk refuses.
        """
        placed = self._named(written, identity, meta)
        written.path.unlink()
        try:
            self._sync(placed, written.descriptor)
        except OSError:
            if not placed.repeated:
                placed.path.unlink(missing_ok=True)
            raise
        return placed

    def _named(self, written: WrittenFile, identity: Identity, meta: FileMeta) -> Placed:
        folder = self.series_folder(identity.study_instance_uid, identity.series_instance_uid)
        name = name_of(identity.sop_instance_uid)
        path, conflicting = folder / f"{name}.dcm", False
        for _ in range(_MOST_ATTEMPTS):
            self._make_folder(folder)
            try:
                os.link(written.path, path)
            except FileExistsError:
                if conflicting or same_object(written.path, path, meta):
                    return Placed(path, repeated=True, conflicting=conflicting)
                conflicting = True
                path = folder / f"{name}-{content_digest(written.path)}.dcm"
            except FileNotFoundError:
                # Somebody removed the series in this instant.
                self._synced_folders.discard(folder)
            else:
                return Placed(path, repeated=False, conflicting=conflicting)
        raise OSError(f"the folder of series {hashed_uid(identity.series_instance_uid)} vanishes")

    def _sync(self, placed: Placed, descriptor: int) -> None:
        folder = self._folders.begin(placed.path.parent)
        if placed.repeated:
            # The one that wrote it may still be syncing it, or have been killed before.
            with placed.path.open("rb") as present:
                os.fsync(present.fileno())
        else:
            os.fsync(descriptor)
        folder.result()

    def _make_folder(self, folder: Path) -> None:
        if folder in self._synced_folders:
            return
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        sync_folder(folder.parent)
        sync_folder(folder.parent.parent)
        if len(self._synced_folders) > 10_000:
            self._synced_folders.clear()
        self._synced_folders.add(folder)


class IncomingObject:
    """One object while it arrives: at most half a megabyte of it is held in memory.

    Args:
        spool: where it goes.
        meta: which object it was announced as, its encoding, and who sends it.
        path: its file until it is complete.
    """

    def __init__(self, spool: Spool, meta: FileMeta, path: Path) -> None:
        self._spool = spool
        self._meta = meta
        self._path = path
        self._header = encoded_file_meta(meta)
        self._buffer = bytearray(self._header)
        self._file: int | None = None
        self.size = 0

    def write(self, data: Encoded) -> None:
        """Take the next bytes of the data set.

        Raises:
            OSError: the disk refuses.
        """
        self._buffer += data
        self.size += len(data)
        if len(self._buffer) >= _BUFFER_BYTES:
            self._flush()

    def commit(self, study_instance_uid: str | None = None) -> Arrival:
        """Put the object in its place; when this returns it survives a loss of power.

        Args:
            study_instance_uid: of the study to which it must belong, where one was named.

        Raises:
            UnreadableObject: it does not say which object it is.
            MismatchedObject: it is another one than was announced.
            OSError: the disk refuses.
        """
        try:
            identity = self._identity()
            self._check(identity, study_instance_uid)
            self._flush()
            assert self._file is not None
            self._write_length()
            status = os.fstat(self._file)
            written = WrittenFile(self._path, self._file)
            placed = self._spool.place(written, identity, self._meta)
        except BaseException:
            self.discard()
            raise
        os.close(self._file)
        self._file = None
        return arrival_of(placed, self._meta, identity, status)

    def discard(self) -> None:
        """Forget the object and remove what was written of it."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
            self._path.unlink(missing_ok=True)

    def _identity(self) -> Identity:
        syntax = self._meta.transfer_syntax_uid
        if self._file is None:
            return read_identity(memoryview(self._buffer)[len(self._header) :], syntax)
        self._flush()
        return identity_in_file(self._file, len(self._header), syntax)

    def _check(self, identity: Identity, study_instance_uid: str | None) -> None:
        if study_instance_uid not in (None, identity.study_instance_uid):
            raise MismatchedObject("the data set belongs to another study than announced")
        if identity.sop_instance_uid != self._meta.sop_instance_uid:
            raise MismatchedObject("the data set has another SOP Instance UID than announced")
        if identity.sop_class_uid != self._meta.sop_class_uid:
            raise MismatchedObject("the data set has another SOP Class UID than announced")

    def _write_length(self) -> None:
        assert self._file is not None
        length = self.size.to_bytes(LENGTH_BYTES, "little")
        os.pwrite(self._file, length, len(self._header) - LENGTH_BYTES)

    def _flush(self) -> None:
        if self._file is None:
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            self._file = os.open(self._path, flags, 0o600)
        rest = memoryview(self._buffer)
        while rest:
            rest = rest[os.write(self._file, rest) :]
        self._buffer = bytearray()


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):  # removed meanwhile, or not ours
        return []
