"""Whether two result folders say the same: ``python -m package.comparison FOLDER FOLDER``.

The same objects with the same UIDs, and in each the same values. What may differ is when it was
made: dates, times, and the seconds that steps took.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset

from app.result_file import FILE_NAME, ResultFile

#: Elements that say when, not what.
_WHEN = ("DA", "TM", "DT")


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
        if one.VR == "SQ" and len(one.value) == len(other.value):
            for item, twin in zip(one.value, other.value, strict=True):
                found += [f"{one.keyword}: {what}" for what in _dataset_differences(item, twin)]
        elif one.value != other.value:
            found.append(f"{one.keyword or tag} differs")
    return found


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
