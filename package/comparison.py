"""Whether two result folders say the same: ``python -m package.comparison FOLDER FOLDER``.

The same objects with the same UIDs, and in each the same values. What may differ is when it was
made: dates, times, the moment that the summary page states, and the seconds that steps took.
"""

from __future__ import annotations

import re
import sys
import zlib
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset

from app.result_file import FILE_NAME, ResultFile

#: Elements that say when, not what.
_WHEN = ("DA", "TM", "DT")
#: What states when a page was made, in its text.
_MADE = re.compile(rb"made \d{4}-\d\d-\d\d \d\d:\d\d")
#: PDF 32000-1: streams (7.3.8), text objects (9.4) and the strings that they show (7.3.4.2).
_STREAM = re.compile(rb"stream\r?\n(.*?)\r?\nendstream", re.DOTALL)
_LENGTH = re.compile(rb"\d+ 0 obj\r?\n\d+\r?\nendobj")
_TEXT = re.compile(rb"\nBT\n(.*?)\nET\n", re.DOTALL)
_STRING = re.compile(rb"\(((?:\\.|[^\\)])*)\)", re.DOTALL)


def differences(first: Path, second: Path) -> list[str]:
    """What differs between the results in two folders, one sentence each.

    Raises:
        ValueError: a folder holds no ``result.json`` that can be read.
    """
    results = []
    for folder in (first, second):
        result = ResultFile.read(folder / FILE_NAME)
        if result is None:
            raise ValueError(f"{folder} holds no {FILE_NAME} that can be read")
        results.append(result)
    found = []
    if results[0].status is not results[1].status:
        found.append(f"status {results[0].status} and {results[1].status}")
    files = [
        {path.relative_to(folder): path for path in sorted(folder.rglob("*.dcm"))}
        for folder in (first, second)
    ]
    found += [f"only in one folder: {name}" for name in sorted(set(files[0]) ^ set(files[1]))]
    for name in sorted(set(files[0]) & set(files[1])):
        datasets = [pydicom.dcmread(one[name]) for one in files]
        found += [f"{name}: {what}" for what in _dataset_differences(*datasets)]
    return found


def _dataset_differences(first: Dataset, second: Dataset) -> list[str]:
    keys = sorted(set(first.keys()) | set(second.keys()))
    found = []
    for tag in keys:
        if tag not in first or tag not in second:
            found.append(f"{tag} is in one alone")
            continue
        one, other = first[tag], second[tag]
        if one.VR in _WHEN:
            continue
        if one.keyword == "EncapsulatedDocumentLength":
            continue
        if one.keyword == "EncapsulatedDocument":
            if _without_moment(one.value) != _without_moment(other.value):
                found.append("the page differs")
            continue
        if one.VR == "SQ" and len(one.value) == len(other.value):
            for item, twin in zip(one.value, other.value, strict=True):
                found += [f"{one.keyword}: {what}" for what in _dataset_differences(item, twin)]
        elif one.value != other.value:
            found.append(f"{one.keyword or tag} differs")
    return found


def _without_moment(pdf: bytes) -> list[bytes]:
    """Everything that a page of ours shows, except for the moment at which it was made.

    Text objects become their text, whose characters are of two bytes there. The spaces between
    them depend on the characters, so they are left out; places, sizes and pictures are not. The
    lengths of streams and the table of places in the file follow from the rest.
    """
    objects, _, _ = pdf.rpartition(b"\nxref\n")
    described = _LENGTH.sub(b"", _STREAM.sub(b"", objects))
    return [described, *(_TEXT.sub(_words, _unpacked(one)) for one in _STREAM.findall(objects))]


def _unpacked(stream: bytes) -> bytes:
    try:
        return zlib.decompress(stream)
    except zlib.error:
        return bytes(stream)


def _words(text: re.Match[bytes]) -> bytes:
    font, _, _ = text[1].partition(b"[")
    shown = b"".join(_STRING.findall(text[1])).replace(b"\0", b"")
    return b"\n" + font + _MADE.sub(b"made", shown) + b"\n"


def main() -> int:
    """Print what differs; returns 1 where something does."""
    first, second = (Path(name) for name in sys.argv[1:3])
    found = differences(first, second)
    for sentence in found:
        print(sentence)
    count = len(list(first.rglob("*.dcm")))
    print(f"{count} DICOM objects compared: {'equal' if not found else 'different'}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
