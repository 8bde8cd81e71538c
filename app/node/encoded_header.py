"""Finds the identity of an object in its encoded bytes, without decoding the object.

A receiver must know study and series before it can name a file, for every object and for
whatever a stranger may send. This walks over the elements up to the Series Instance UID
(PS3.5 section 7), skips everything else by its length, keeps no nesting on the call stack and
never reads beyond the bytes that it was given.
"""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass

DEFLATED = "1.2.840.10008.1.2.1.99"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
IMPLICIT = "1.2.840.10008.1.2"
# What comes before the Series Instance UID is seldom more than some kilobytes.
_LONGEST_INFLATED_HEADER = 16 * 1024 * 1024
_LONGEST_UID = 64
_LONGEST_TEXT = 64
_DEEPEST_NESTING = 64

_WITH_LONG_LENGTH = frozenset(
    (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
)
_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_SOP_CLASS, _SOP_INSTANCE = 0x00080016, 0x00080018
_ACCESSION, _MODALITY = 0x00080050, 0x00080060
_STUDY, _SERIES = 0x0020000D, 0x0020000E
_WANTED = frozenset((_SOP_CLASS, _SOP_INSTANCE, _ACCESSION, _MODALITY, _STUDY, _SERIES))

Encoded = bytes | bytearray | memoryview


class UnreadableObject(ValueError):  # noqa: N818 - an answer to the sender, not a fault
    """The bytes do not say which object they are; the text says why, without quoting values."""


@dataclass(frozen=True)
class Identity:
    """Which object a data set is.

    Attributes:
        sop_class_uid: (0008,0016).
        sop_instance_uid: (0008,0018).
        study_instance_uid: (0020,000D).
        series_instance_uid: (0020,000E).
        modality: (0008,0060); empty where absent.
        accession_number: (0008,0050); empty where absent.
    """

    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    modality: str
    accession_number: str


def read_identity(data_set: Encoded, transfer_syntax_uid: str) -> Identity:
    """The identity of an encoded data set.

    Args:
        data_set: the data set, without preamble and file meta information; its beginning up
            to the Series Instance UID is enough.
        transfer_syntax_uid: how it is encoded. Every transfer syntax but the four native ones
            and the deflated one is explicit VR little endian (PS3.5 A.4).

    Raises:
        UnreadableObject: an element is cut short or nested too deeply, or a UID is missing or
            is not a UID.
    """
    if transfer_syntax_uid == DEFLATED:
        data_set = _inflated(data_set)
    found = _wanted_elements(
        data_set,
        explicit=transfer_syntax_uid != IMPLICIT,
        order=">" if transfer_syntax_uid == BIG_ENDIAN else "<",
    )
    return Identity(
        sop_class_uid=checked_uid(_text(found, _SOP_CLASS), "SOP Class UID"),
        sop_instance_uid=checked_uid(_text(found, _SOP_INSTANCE), "SOP Instance UID"),
        study_instance_uid=checked_uid(_text(found, _STUDY), "Study Instance UID"),
        series_instance_uid=checked_uid(_text(found, _SERIES), "Series Instance UID"),
        modality=_text(found, _MODALITY)[:16],
        accession_number=_text(found, _ACCESSION)[:_LONGEST_TEXT],
    )


def checked_uid(text: str, name: str) -> str:
    """``text`` if it can be a UID (PS3.5 section 9.1).

    Components with leading zeros are let through: real devices write them.

    Raises:
        UnreadableObject: it is empty, too long, or holds anything but digits and dots.
    """
    if not text:
        raise UnreadableObject(f"{name} is missing")
    if len(text) > _LONGEST_UID:
        raise UnreadableObject(f"{name} is longer than {_LONGEST_UID} characters")
    if _UID.fullmatch(text) is None:
        raise UnreadableObject(f"{name} is not made of numbers and dots")
    return text


def _text(found: dict[int, bytes], tag: int) -> str:
    value = found.get(tag, b"")
    # The character set only matters beyond ASCII, which identifiers rarely use.
    return value.split(b"\\")[0].decode("ascii", "replace").strip(" \0")


def _inflated(data_set: Encoded) -> bytes:
    try:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(data_set, _LONGEST_INFLATED_HEADER)
    except zlib.error:
        raise UnreadableObject("the deflated data set cannot be inflated") from None


def _wanted_elements(data_set: Encoded, *, explicit: bool, order: str) -> dict[int, bytes]:
    """Values of the wanted top-level elements.

    ``nested`` holds, for each open sequence or item of undefined length, whether its elements
    have explicit VR: UN of undefined length is implicit inside (PS3.5 6.2.2).
    """
    read_explicit = struct.Struct(order + "HH2sH").unpack_from
    read_implicit = struct.Struct(order + "HHL").unpack_from
    read_long = struct.Struct(order + "L").unpack_from
    found: dict[int, bytes] = {}
    nested: list[bool] = []
    at, end, is_explicit, vr = 0, len(data_set), explicit, b""
    while at + 8 <= end:
        if is_explicit:
            group, element, vr, length = read_explicit(data_set, at)
        else:
            group, element, length = read_implicit(data_set, at)
        tag = group << 16 | element
        if group == 0xFFFE:
            at = _delimiter(tag, read_long(data_set, at + 4)[0], at, nested)
            is_explicit = nested[-1] if nested else explicit
            continue
        if not nested and tag > _SERIES:
            break
        at += 8
        if is_explicit and vr in _WITH_LONG_LENGTH:
            if at + 4 > end:
                raise UnreadableObject("an element is cut short")
            (length,) = read_long(data_set, at)
            at += 4
        if length == _UNDEFINED:
            if len(nested) >= _DEEPEST_NESTING:
                raise UnreadableObject(f"sequences are nested more than {_DEEPEST_NESTING} deep")
            is_explicit = is_explicit and vr != b"UN"
            nested.append(is_explicit)
            continue
        if tag in _WANTED and not nested:
            if at + length > end:
                raise UnreadableObject("an element is cut short")
            found[tag] = bytes(data_set[at : at + min(length, 1024)])
        at += length
    return found


def _delimiter(tag: int, length: int, at: int, nested: list[bool]) -> int:
    """Where to go on after an item or a delimiter at ``at``."""
    if not nested:
        raise UnreadableObject("an item stands outside of a sequence")
    if tag == _ITEM:
        if length != _UNDEFINED:
            return at + 8 + length
        if len(nested) >= _DEEPEST_NESTING:
            raise UnreadableObject(f"sequences are nested more than {_DEEPEST_NESTING} deep")
        nested.append(nested[-1])
    elif tag in (_ITEM_END, _SEQUENCE_END):
        nested.pop()
    else:
        raise UnreadableObject("a delimiter is unknown")
    return at + 8
