"""Reads the few needed elements of a DICOM file and finds its pixel data.

``pydicom.dcmread`` spends over a millisecond on every classic image, nearly all of it on
elements that nobody asks for. This scanner walks over them (DICOM PS3.5 7, PS3.10 7) and
keeps only :data:`operators.ingest.elements.KEPT_TAGS`. It reads no pixels, recurses no deeper
than a fixed depth, and holds no more of a file in memory than its header.
"""

from __future__ import annotations

import struct
from typing import BinaryIO, NamedTuple

from pydicom.config import IGNORE
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000TransferSyntaxes,
    JPEGLSTransferSyntaxes,
    JPEGTransferSyntaxes,
    RLETransferSyntaxes,
)

from operators.ingest.elements import KEPT_TAGS, SEQUENCE_TAGS
from operators.ingest.header import Header, StoredElement

NATIVE = frozenset((ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian))
ENCAPSULATED = frozenset(
    (
        *JPEGTransferSyntaxes,
        *JPEGLSTransferSyntaxes,
        *JPEG2000TransferSyntaxes,
        *RLETransferSyntaxes,
    )
)

_FIRST_READ = 64 * 1024
_LONGEST_HEADER = 256 * 1024**2
_LONGEST_KEPT_VALUE = 1024**2
_DEEPEST_SEQUENCE = 64
_MOST_KEPT_ITEMS = 250_000
_UNDEFINED = 0xFFFFFFFF
_PIXEL_DATA = frozenset((0x7FE00008, 0x7FE00009, 0x7FE00010))
_SOP_CLASS = 0x00080016
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_LONG = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
_VRS = _LONG | frozenset(b"AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US".split())
_HEADER_SIZES = {vr: 12 if vr in _LONG else 8 for vr in _VRS}
"""Bytes of tag, VR and length in an element of explicit VR (PS3.5 7.1.2)."""
_WANTED_AT_TOP = KEPT_TAGS | _PIXEL_DATA


class UnreadableFileError(ValueError):
    """The file is no DICOM file that can be read; the message says why."""


class PixelElement(NamedTuple):
    """Where the pixel data of a file are.

    Attributes:
        tag: (7FE0,0010), or (7FE0,0008) and (7FE0,0009) for float and double.
        offset: of the first byte of its value.
        length: of its value in bytes, or None where it is encapsulated.
    """

    tag: int
    offset: int
    length: int | None


class ScannedFile(NamedTuple):
    """What was found in a file; ``pixels`` is None where there are none.

    ``sop_class`` is that of the data set, or else that of the file meta information, where a
    DICOMDIR has its only one.
    """

    sop_class: str
    transfer_syntax: str
    header: Header
    pixels: PixelElement | None


class _BeyondBufferError(Exception):
    """More of the file is needed, up to ``position``."""

    def __init__(self, position: int) -> None:
        self.position = position


def scan_file(stream: BinaryIO, size: int, wanted_sop_classes: frozenset[str]) -> ScannedFile:
    """Read the kept elements of the file behind ``stream``.

    Args:
        stream: at the start of the file.
        size: bytes in the file.
        wanted_sop_classes: SOP Class UIDs of which a long header is worth reading.

    Raises:
        UnreadableFileError: it is no DICOM file, is damaged, or is none of the wanted.
    """
    data = stream.read(_FIRST_READ)
    while True:
        scanner = _Scanner(data, size)
        try:
            return scanner.scan()
        except _BeyondBufferError as beyond:
            if len(data) >= size or beyond.position > size:
                raise UnreadableFileError("ends in the middle of its header") from None
            sop_class = scanner.sop_class
            if sop_class and sop_class not in wanted_sop_classes:
                raise UnreadableFileError(not_an_mr_image(sop_class)) from None
            needed = max(4 * len(data), beyond.position + _FIRST_READ)
            if needed > _LONGEST_HEADER:
                raise UnreadableFileError("has a header of over 256 MiB") from None
            data += stream.read(needed - len(data))


def not_an_mr_image(sop_class: str) -> str:
    """Why an object of another SOP class is left alone."""
    name = UID(sop_class, validation_mode=IGNORE).name
    return f"is no MR image ({name if name != sop_class else 'unknown SOP class'})"


class _Scanner:
    """Scans ``data``, the first bytes of a file of ``size`` bytes."""

    def __init__(self, data: bytes, size: int) -> None:
        self.data = data
        self.size = size
        self.sop_class = ""
        self.pixels: PixelElement | None = None
        self.kept_items = 0
        self._set_order("<")

    def _set_order(self, order: str) -> None:
        self.order = order
        self.unpack_implicit = struct.Struct(f"{order}HHI").unpack_from
        self.unpack_explicit = struct.Struct(f"{order}HH2sH").unpack_from
        self.unpack_length = struct.Struct(f"{order}I").unpack_from

    def scan(self) -> ScannedFile:
        position, transfer_syntax = self._file_meta(self._start())
        implicit = transfer_syntax == ImplicitVRLittleEndian
        if transfer_syntax == ExplicitVRBigEndian:
            self._set_order(">")
        if implicit == (self.data[position + 4 : position + 6] in _VRS):
            raise UnreadableFileError("its data set is not encoded as its transfer syntax says")
        elements, _ = self._data_set(position, self.size, 0, implicit, keep=True)
        header = Header(elements, self.order == "<")
        return ScannedFile(self.sop_class, transfer_syntax, header, self.pixels)

    def _start(self) -> int:
        """Offset of the first element: after the preamble, or 0 without one (PS3.10 7.1)."""
        data = self.data
        if data[128:132] == b"DICM":
            return 132
        if data[:4] in (b"\x02\0\0\0", b"\x08\0\x05\0", b"\x08\0\x08\0") or (
            data[:2] == b"\x02\0" and data[4:6] in _VRS
        ):
            return 0
        raise UnreadableFileError("is not a DICOM file")

    def _file_meta(self, position: int) -> tuple[int, str]:
        """Offset of the data set, and its transfer syntax (PS3.10 7.1)."""
        data = self.data
        transfer_syntax: str | None = None
        while data[position : position + 2] == b"\x02\0":
            if data[position + 4 : position + 6] not in _VRS:
                raise UnreadableFileError("has damaged file meta information")
            try:
                element, vr, length = struct.unpack_from("<H2sH", data, position + 2)
                start = position + 8
                if vr in _LONG:
                    (length,) = struct.unpack_from("<I", data, start)
                    start += 4
            except struct.error:
                raise _BeyondBufferError(position + 12) from None
            position = start + length
            if position > len(data):
                raise _BeyondBufferError(position)
            if element in (0x0002, 0x0010):
                uid = data[start:position].strip(b" \0").decode("latin-1")
                if element == 0x0002:
                    self.sop_class = uid
                else:
                    transfer_syntax = uid
        if len(data) < position + 8:
            raise UnreadableFileError("has no data set")
        if transfer_syntax is None:
            explicit = data[position + 4 : position + 6] in _VRS
            transfer_syntax = ExplicitVRLittleEndian if explicit else ImplicitVRLittleEndian
        if transfer_syntax == DeflatedExplicitVRLittleEndian:
            raise UnreadableFileError("is deflated, which is not supported")
        if transfer_syntax not in NATIVE and transfer_syntax not in ENCAPSULATED:
            raise UnreadableFileError("has a transfer syntax that is not supported")
        return position, transfer_syntax

    def _data_set(
        self, position: int, end: int, depth: int, implicit: bool, keep: bool
    ) -> tuple[dict[int, StoredElement], int]:
        """Elements from ``position`` to ``end`` or to an Item Delimitation, and where it ends."""
        if depth > _DEEPEST_SEQUENCE:
            raise UnreadableFileError(f"has sequences nested deeper than {_DEEPEST_SEQUENCE}")
        elements: dict[int, StoredElement] = {}
        # Nearly all of the time of a scan is spent in this loop: names are local, and elements
        # that are neither kept nor of undefined length cost as little as possible.
        data = self.data
        wanted = _WANTED_AT_TOP if depth == 0 else KEPT_TAGS if keep else frozenset()
        unpack = self.unpack_implicit if implicit else self.unpack_explicit
        unpack_length, header_sizes = self.unpack_length, _HEADER_SIZES
        vr = b""
        while position < end:
            try:
                if implicit:
                    group, element, length = unpack(data, position)
                    start = position + 8
                else:
                    group, element, vr, length = unpack(data, position)
                    size = header_sizes.get(vr)
                    if size == 12:
                        (length,) = unpack_length(data, position + 8)
                        start = position + 12
                    else:
                        start = position + 8
            except struct.error:
                raise _BeyondBufferError(position + 12) from None
            tag = group << 16 | element
            if (implicit or size is None) and group == 0xFFFE:
                if tag == _ITEM_END and depth:
                    return elements, position + 8
                raise UnreadableFileError("has a delimitation where no item ends")
            if not implicit and size is None:
                raise UnreadableFileError(
                    f"has no value representation at ({group:04x},{element:04x})"
                )
            if length != _UNDEFINED and tag not in wanted:
                position = start + length
                continue
            if tag in _PIXEL_DATA and depth == 0:
                self.pixels = PixelElement(tag, start, None if length == _UNDEFINED else length)
                return elements, start
            position = self._element(elements, tag, vr, start, length, depth, implicit, keep)
        if position > end:
            raise _BeyondBufferError(position)
        return elements, position

    def _element(
        self,
        elements: dict[int, StoredElement],
        tag: int,
        vr: bytes,
        start: int,
        length: int,
        depth: int,
        implicit: bool,
        keep: bool,
    ) -> int:
        """Keep an element, or walk over one of undefined length; where the next one starts."""
        kept = keep and tag in KEPT_TAGS
        if length == _UNDEFINED or vr == b"SQ" or tag in SEQUENCE_TAGS:
            # The items of a sequence of unknown VR are in implicit VR (PS3.5 6.2.2).
            in_items = implicit or vr == b"UN"
            end = None if length == _UNDEFINED else start + length
            items, position = self._items(start, end, depth, in_items, kept)
            if kept:
                elements[tag] = StoredElement("SQ", items)
            return position
        if length > _LONGEST_KEPT_VALUE:
            raise UnreadableFileError(
                f"holds {length} bytes in ({tag >> 16:04x},{tag & 0xFFFF:04x})"
            )
        position = start + length
        if position > len(self.data):
            raise _BeyondBufferError(position)
        elements[tag] = StoredElement(vr.decode(), self.data[start:position])
        if tag == _SOP_CLASS and depth == 0:
            self.sop_class = self.data[start:position].strip(b" \0").decode("latin-1")
        return position

    def _items(
        self, position: int, end: int | None, depth: int, implicit: bool, keep: bool
    ) -> tuple[tuple[Header, ...], int]:
        """Items of a sequence up to ``end``, or to its delimitation, and where it ends."""
        items = []
        while end is None or position < end:
            if self.kept_items > _MOST_KEPT_ITEMS:
                raise UnreadableFileError(f"has more than {_MOST_KEPT_ITEMS} sequence items")
            try:
                group, element, length = self.unpack_implicit(self.data, position)
            except struct.error:
                raise _BeyondBufferError(position + 8) from None
            tag = group << 16 | element
            position += 8
            if tag == _SEQUENCE_END:
                break
            if tag != _ITEM:
                raise UnreadableFileError("has a sequence without items")
            if keep or length == _UNDEFINED:
                stop = self.size if length == _UNDEFINED else position + length
                elements, position = self._data_set(position, stop, depth + 1, implicit, keep)
                if keep:
                    items.append(Header(elements, self.order == "<"))
                    self.kept_items += 1
            else:
                position += length
        return tuple(items), position
