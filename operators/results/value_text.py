"""Text as DICOM values can hold it (PS3.5 6.2), in any character set."""

from __future__ import annotations

_LONG_STRING = 64
_SHORT_TEXT = 1024
_CODE_STRING = 16


def long_string(text: str) -> str:
    """As much of a text as a Long String holds; Contribution Description has the whole."""
    return _ascii(text)[:_LONG_STRING]


def short_text(text: str) -> str:
    """As much of a text as a Short Text holds."""
    return _ascii(text)[:_SHORT_TEXT]


def code_string(label: str) -> str:
    """A label as Code String: capitals, digits and underscores, at most 16."""
    return "".join(c if c.isascii() and c.isalnum() else "_" for c in label.upper())[:_CODE_STRING]


def _ascii(text: str) -> str:
    """Text without backslash, which separates values."""
    return text.replace("\\", "/").encode("ascii", "replace").decode()
