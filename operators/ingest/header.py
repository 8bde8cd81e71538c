"""The few decoded elements of one image, or of one frame of a multi-frame image."""

from __future__ import annotations

import struct
from math import isfinite
from typing import NamedTuple

from operators.ingest.elements import MACRO_TAGS, STANDARD, PrivateElement, creator_tags


class HeaderValueError(ValueError):
    """An element holds what its value representation does not allow."""


class StoredElement(NamedTuple):
    """An element as it stands in the file: VR ("" if implicit) and bytes, or items."""

    vr: str
    value: bytes | tuple[Header, ...]


_BINARY = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "FL": "f", "FD": "d", "UV": "Q", "SV": "q"}
_WITHOUT_OWN_VR = {"", "UN", "OB"}


class Header:
    """Elements of a data set, decoded when asked for.

    Args:
        elements: tag -> element.
        little_endian: byte order of binary values.
    """

    __slots__ = ("elements", "little_endian")

    def __init__(self, elements: dict[int, StoredElement], little_endian: bool = True) -> None:
        self.elements = elements
        self.little_endian = little_endian

    def _find(self, name: str | PrivateElement) -> tuple[StoredElement | None, str]:
        """The element, and the value representation by which its value is to be read."""
        if isinstance(name, str):
            tag, vr = STANDARD[name]
            element = self.elements.get(tag)
        else:
            element, vr = self._find_private(name), name.vr
        if element is not None and element.vr not in _WITHOUT_OWN_VR:
            vr = element.vr
        return element, vr

    def _find_private(self, name: PrivateElement) -> StoredElement | None:
        wanted = name.creator.upper()
        for tag in creator_tags(name.group):
            creator = self.elements.get(tag)
            if creator is None or not isinstance(creator.value, bytes):
                continue
            if creator.value.strip(b" \0").decode("latin-1").upper() == wanted:
                block = (tag & 0xFF) << 8
                found = self.elements.get(name.group << 16 | block | name.offset)
                if found is not None:
                    return found
        return None

    def numbers(self, name: str | PrivateElement) -> tuple[float, ...]:
        """Values of a numeric element; empty where it is absent or empty.

        Raises:
            HeaderValueError: they are not numbers, or not finite.
        """
        element, vr = self._find(name)
        if element is None or not isinstance(element.value, bytes):
            return ()
        value = element.value
        try:
            if vr in _BINARY:
                code = _BINARY[vr]
                count = len(value) // struct.calcsize(code)
                order = "<" if self.little_endian else ">"
                values = tuple(map(float, struct.unpack(f"{order}{count}{code}", value)))
            else:
                value = value.strip(b" \0")
                values = tuple(map(float, value.split(b"\\"))) if value else ()
        except (ValueError, struct.error):
            raise HeaderValueError(f"{_shown(name)} holds no number") from None
        if not all(map(isfinite, values)):
            raise HeaderValueError(f"{_shown(name)} is not finite")
        return values

    def number(self, name: str | PrivateElement) -> float | None:
        """First value of a numeric element, or None."""
        values = self.numbers(name)
        return values[0] if values else None

    def vector(self, name: str | PrivateElement, length: int) -> tuple[float, ...] | None:
        """All ``length`` values of a numeric element, or None where it is absent.

        Raises:
            HeaderValueError: it has another number of values, or they are no finite numbers.
        """
        values = self.numbers(name)
        if not values:
            return None
        if len(values) != length:
            raise HeaderValueError(f"{_shown(name)} has {len(values)} values, not {length}")
        return values

    def text(self, name: str | PrivateElement) -> str:
        """Value of a text element without padding; "" where it is absent."""
        element, _ = self._find(name)
        if element is None or not isinstance(element.value, bytes):
            return ""
        return element.value.strip(b" \0").decode("latin-1")

    def tokens(self, name: str | PrivateElement) -> tuple[str, ...]:
        """Values of a multi-valued text element, upper case."""
        text = self.text(name)
        return tuple(part.strip().upper() for part in text.split("\\")) if text else ()

    def raw(self, name: str | PrivateElement) -> bytes:
        """Bytes of an element; empty where it is absent."""
        element, _ = self._find(name)
        return element.value if element is not None and isinstance(element.value, bytes) else b""

    def items(self, name: str | PrivateElement) -> tuple[Header, ...]:
        """Items of a sequence; empty where it is absent."""
        element, _ = self._find(name)
        if element is None or isinstance(element.value, bytes):
            return ()
        return element.value

    def flattened(self, *groups: Header) -> Header:
        """This header with the macros of functional groups laid over it.

        A frame of an Enhanced image then reads as a classic image does.

        Args:
            groups: items of the Shared and Per-Frame Functional Groups Sequence; later ones
                win.
        """
        elements = dict(self.elements)
        for group in groups:
            _lay_over(elements, group)
        return Header(elements, self.little_endian)


def _lay_over(elements: dict[int, StoredElement], group: Header) -> None:
    for tag, element in group.elements.items():
        if tag in MACRO_TAGS and not isinstance(element.value, bytes):
            for item in element.value[:1]:
                _lay_over(elements, item)
        else:
            elements[tag] = element


def _shown(name: str | PrivateElement) -> str:
    if isinstance(name, str):
        tag = STANDARD[name][0]
        return f"{name} ({tag >> 16:04x},{tag & 0xFFFF:04x})"
    return f"private element ({name.group:04x},xx{name.offset:02x})"
