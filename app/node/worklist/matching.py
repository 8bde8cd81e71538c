"""Which work items a C-FIND request means, and what is told of them (PS3.4 C.2.2.2, CC.2.8)."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

_RANGES = frozenset(("DA", "DT", "TM"))
_WITH_WILDCARDS = frozenset(("AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"))
_NEVER_TOLD = frozenset(("TransactionUID",))


def matches(data_set: Dataset, keys: Dataset) -> bool:
    """Whether a data set meets every key that has a value."""
    return all(_element_matches(data_set, key) for key in keys if _is_asked(key))


def _is_asked(key: DataElement) -> bool:
    if key.keyword == "SpecificCharacterSet":
        return False
    if key.VR == "SQ":
        return bool(key.value) and any(_is_asked(element) for element in key.value[0])
    return not key.is_empty


def _element_matches(data_set: Dataset, key: DataElement) -> bool:
    if key.tag not in data_set:
        return False
    found = data_set[key.tag]
    if key.VR == "SQ":
        return any(matches(item, key.value[0]) for item in found.value or ())
    values = [str(value) for value in _values(found)]
    return any(
        _value_matches(value, str(wanted), key.VR) for wanted in _values(key) for value in values
    )


def _values(element: DataElement) -> Iterable[object]:
    return element.value if element.VM > 1 else [element.value]


def _value_matches(value: str, wanted: str, vr: str) -> bool:
    if vr in _RANGES and "-" in wanted:
        first, _, last = wanted.partition("-")
        return (not first or value >= first) and (not last or value[: len(last)] <= last)
    if vr in _RANGES:
        return value.startswith(wanted)
    if vr in _WITH_WILDCARDS and ("*" in wanted or "?" in wanted):
        # The brackets of fnmatch are no wildcards in DICOM.
        return fnmatch.fnmatchcase(value, wanted.replace("[", "[[]"))
    return value == wanted


def told(data_set: Dataset, keys: Dataset) -> Dataset:
    """What was asked for of a matching work item: the keys, with values where there are any."""
    answer = _asked_of(data_set, keys)
    answer.SOPClassUID = data_set.SOPClassUID
    answer.SOPInstanceUID = data_set.SOPInstanceUID
    return answer


def _asked_of(data_set: Dataset, keys: Dataset) -> Dataset:
    answer = Dataset()
    for key in keys:
        if key.keyword in _NEVER_TOLD:
            continue
        if key.tag not in data_set:
            answer.add_new(key.tag, key.VR, [] if key.VR == "SQ" else None)
        elif key.VR == "SQ" and key.value and len(key.value[0]):
            items = [_asked_of(item, key.value[0]) for item in data_set[key.tag].value or ()]
            answer.add_new(key.tag, "SQ", items)
        else:
            answer.add(data_set[key.tag])
    return answer
