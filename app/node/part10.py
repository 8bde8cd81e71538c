"""The file around a received data set: preamble and file meta information (PS3.10 section 7).

Everything that is known of an arrival and is not in the data set is written here, so that a
file alone is enough to find out what arrived, from whom and how.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import BinaryIO

from pydicom.uid import PYDICOM_IMPLEMENTATION_UID

from app.node.arrival import Origin, Transport
from app.node.encoded_header import Encoded, UnreadableObject, checked_uid

PREAMBLE_LENGTH = 128
PREFIX = b"DICM"
IMPLEMENTATION_CLASS_UID = str(PYDICOM_IMPLEMENTATION_UID)
IMPLEMENTATION_VERSION_NAME = "QUANTMAP"
# The group length element, with which the file meta information begins.
FIXED_LENGTH = PREAMBLE_LENGTH + len(PREFIX) + 12
LONGEST_META = 64 * 1024
LENGTH_BYTES = 8
# Private Information (0002,0102) of this creator is the length of the data set: a file that a
# loss of power left incomplete is known by it.
_LENGTH_CREATOR_UID = "2.25.209183745662517348190238471650923847165"

_WITH_LONG_LENGTH = frozenset((b"OB", b"UN", b"UR", b"UT", b"UC", b"SQ", b"OW"))
_SCHEMES: Mapping[Transport, str] = {"dimse": "dicom", "stow": "http", "folder": "file"}


@dataclass(frozen=True)
class FileMeta:
    """What the file meta information says.

    Attributes:
        sop_class_uid: (0002,0002).
        sop_instance_uid: (0002,0003).
        transfer_syntax_uid: (0002,0010).
        origin: (0002,0017), (0002,0018) and (0002,0027).
        data_set_length: bytes of the data set in a file of this node (0002,0102); None in
            files of others.
    """

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    origin: Origin
    data_set_length: int | None = None


def encoded_file_meta(meta: FileMeta) -> bytes:
    """Preamble, prefix and file meta information, after which the data set follows.

    Source, Sending and Receiving Application Entity Title are as PS3.10 7.1 has them. The
    Sending Presentation Address (0002,0027) holds scheme and address of the sender. The last
    eight bytes are the length of the data set, little endian, which may be filled in later.
    """
    origin = meta.origin
    address = f"{_SCHEMES[origin.transport]}://{origin.peer_address}"
    elements = b"".join(
        [
            struct.pack("<HH2sHL", 2, 0x0001, b"OB", 0, 2) + b"\0\1",
            _element(0x0002, b"UI", meta.sop_class_uid),
            _element(0x0003, b"UI", meta.sop_instance_uid),
            _element(0x0010, b"UI", meta.transfer_syntax_uid),
            _element(0x0012, b"UI", IMPLEMENTATION_CLASS_UID),
            _element(0x0013, b"SH", IMPLEMENTATION_VERSION_NAME),
            _element(0x0016, b"AE", origin.called_ae),
            _element(0x0017, b"AE", origin.calling_ae),
            _element(0x0018, b"AE", origin.called_ae),
            _element(0x0027, b"UR", address),
            _element(0x0100, b"UI", _LENGTH_CREATOR_UID),
            struct.pack("<HH2sHLQ", 2, 0x0102, b"OB", 0, 8, meta.data_set_length or 0),
        ]
    )
    group_length = struct.pack("<HH2sHL", 2, 0x0000, b"UL", 4, len(elements))
    return bytes(PREAMBLE_LENGTH) + PREFIX + group_length + elements


def _element(number: int, vr: bytes, text: str) -> bytes:
    value = text.encode("ascii", "replace")
    if len(value) % 2:
        value += b"\0" if vr == b"UI" else b" "
    if vr in _WITH_LONG_LENGTH:
        return struct.pack("<HH2sHL", 2, number, vr, 0, len(value)) + value
    return struct.pack("<HH2sH", 2, number, vr, len(value)) + value


def meta_length(beginning: Encoded) -> int:
    """Bytes before the data set, from the first ``FIXED_LENGTH`` bytes of a file.

    Raises:
        UnreadableObject: it is not a DICOM file, or its file meta information has no length
            or an absurd one.
    """
    if len(beginning) < FIXED_LENGTH or bytes(beginning[128:132]) != PREFIX:
        raise UnreadableObject("it is not a DICOM file (PS3.10)")
    group, element, vr, size, length = struct.unpack_from("<HH2sHL", beginning, 132)
    if (group, element, vr, size) != (2, 0, b"UL", 4):
        raise UnreadableObject("its file meta information does not begin with its length")
    if length > LONGEST_META:
        raise UnreadableObject(f"its file meta information is longer than {LONGEST_META} bytes")
    return FIXED_LENGTH + length


def decoded_file_meta(header: Encoded) -> FileMeta:
    """What the file meta information says.

    Args:
        header: the first ``meta_length`` bytes of a file.

    Raises:
        UnreadableObject: an element is cut short, or a UID is missing or is not a UID.
    """
    values: dict[int, bytes] = {}
    at, end = FIXED_LENGTH, len(header)
    while at + 8 <= end:
        group, number, vr, length = struct.unpack_from("<HH2sH", header, at)
        at += 8
        if vr in _WITH_LONG_LENGTH:
            if at + 4 > end:
                raise UnreadableObject("its file meta information is cut short")
            (length,) = struct.unpack_from("<L", header, at)
            at += 4
        if group != 2 or at + length > end:
            raise UnreadableObject("its file meta information is cut short")
        values[number] = bytes(header[at : at + length])
        at += length
    texts = {n: v.decode("ascii", "replace").strip(" \0") for n, v in values.items()}
    scheme, _, address = texts.get(0x0027, "").partition("://")
    transports = {scheme: transport for transport, scheme in _SCHEMES.items()}
    return FileMeta(
        sop_class_uid=checked_uid(texts.get(0x0002, ""), "Media Storage SOP Class UID"),
        sop_instance_uid=checked_uid(texts.get(0x0003, ""), "Media Storage SOP Instance UID"),
        transfer_syntax_uid=checked_uid(texts.get(0x0010, ""), "Transfer Syntax UID"),
        origin=Origin(
            calling_ae=texts.get(0x0017, ""),
            called_ae=texts.get(0x0018, ""),
            peer_address=address,
            transport=transports.get(scheme, "folder"),
        ),
        data_set_length=_recorded_length(values, texts),
    )


def _recorded_length(values: Mapping[int, bytes], texts: Mapping[int, str]) -> int | None:
    value = values.get(0x0102, b"")
    if texts.get(0x0100) != _LENGTH_CREATOR_UID or len(value) != LENGTH_BYTES:
        return None
    return int.from_bytes(value, "little")


def read_file_meta(file: BinaryIO) -> tuple[FileMeta, int]:
    """The file meta information of an open file, and where its data set begins.

    Raises:
        UnreadableObject: as ``meta_length`` and ``decoded_file_meta``.
    """
    file.seek(0)
    beginning = file.read(FIXED_LENGTH)
    length = meta_length(beginning)
    header = beginning + file.read(length - FIXED_LENGTH)
    if len(header) < length:
        raise UnreadableObject("its file meta information is cut short")
    return decoded_file_meta(header), length
