"""The files of the spool: what one says of itself, and whether two hold the same object."""

from __future__ import annotations

import hashlib
import mmap
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from app.node.arrival import Arrival
from app.node.encoded_header import Identity, UnreadableObject, read_identity
from app.node.part10 import FileMeta, read_file_meta

_COMPARED_BYTES = 1024 * 1024


class MismatchedObject(UnreadableObject):
    """The data set is another object than the one that was announced."""


class IncompleteObject(UnreadableObject):
    """The file was being written when the power was lost; nobody was told that it is safe."""


@dataclass(frozen=True)
class WrittenFile:
    """A file that is complete and has no name of its own yet.

    Attributes:
        path: where it is.
        descriptor: it is open there.
    """

    path: Path
    descriptor: int


@dataclass(frozen=True)
class Placed:
    """Where an object is.

    Attributes:
        path: its file.
        repeated: it was there before.
        conflicting: it stands beside another object of the same SOP Instance UID.
    """

    path: Path
    repeated: bool
    conflicting: bool


def read_arrival(path: Path) -> Arrival:
    """What a file of the spool says of itself.

    Raises:
        IncompleteObject: it was being written when the power was lost.
        UnreadableObject: it is not a file that a spool wrote.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        meta, length = read_file_meta(file)
        status = os.fstat(file.fileno())
        if meta.data_set_length not in (None, status.st_size - length):
            raise IncompleteObject("it is shorter or longer than it was to become")
        identity = identity_in_file(file.fileno(), length, meta.transfer_syntax_uid)
        placed = Placed(path, repeated=False, conflicting="-" in path.name)
        return arrival_of(placed, meta, identity, status)


def identity_in_file(descriptor: int, data_set_at: int, transfer_syntax_uid: str) -> Identity:
    """The identity of the data set that begins at ``data_set_at`` of an open file.

    Raises:
        UnreadableObject: as ``read_identity``.
    """
    with (
        mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ) as mapped,
        memoryview(mapped) as whole,
        whole[data_set_at:] as data_set,
    ):
        return read_identity(data_set, transfer_syntax_uid)


def arrival_of(
    placed: Placed, meta: FileMeta, identity: Identity, status: os.stat_result
) -> Arrival:
    """The arrival of an object that is in its place.

    Args:
        placed: where it is.
        meta: its file meta information.
        identity: of its data set.
        status: of its file.
    """
    return Arrival(
        path=placed.path,
        study_instance_uid=identity.study_instance_uid,
        series_instance_uid=identity.series_instance_uid,
        sop_instance_uid=identity.sop_instance_uid,
        sop_class_uid=identity.sop_class_uid,
        modality=identity.modality,
        accession_number=identity.accession_number,
        calling_ae=meta.origin.calling_ae,
        called_ae=meta.origin.called_ae,
        peer_address=meta.origin.peer_address,
        transport=meta.origin.transport,
        received=datetime.fromtimestamp(status.st_mtime, UTC),
        size=status.st_size,
        repeated=placed.repeated,
        conflicting=placed.conflicting,
    )


def _data_set_chunks(file: BinaryIO, data_set_at: int) -> Iterator[bytes]:
    file.seek(data_set_at)
    while chunk := file.read(_COMPARED_BYTES):
        yield chunk


def same_object(written: Path, present: Path, meta: FileMeta) -> bool:
    """Whether two files hold the same data set, encoded in the same way."""
    with written.open("rb") as new, present.open("rb") as old:
        (_, new_at), (old_meta, old_at) = read_file_meta(new), read_file_meta(old)
        new_size = os.fstat(new.fileno()).st_size - new_at
        old_size = os.fstat(old.fileno()).st_size - old_at
        if new_size != old_size or old_meta.transfer_syntax_uid != meta.transfer_syntax_uid:
            return False
        chunks = zip(_data_set_chunks(new, new_at), _data_set_chunks(old, old_at), strict=True)
        return all(ours == theirs for ours, theirs in chunks)


def content_digest(written: Path) -> str:
    """Sixteen hexadecimal digits for a data set and its encoding."""
    digest = hashlib.sha256()
    with written.open("rb") as file:
        meta, data_set_at = read_file_meta(file)
        digest.update(meta.transfer_syntax_uid.encode("ascii"))
        for chunk in _data_set_chunks(file, data_set_at):
            digest.update(chunk)
    return digest.hexdigest()[:16]
