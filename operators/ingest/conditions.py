"""Whether the conditions of a configured rule hold for a series."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from operators.ingest.settings import Condition


def holds(conditions: Mapping[str, Condition], data_set: Dataset) -> bool:
    """Whether every condition holds for the attribute that it names.

    Args:
        conditions: DICOM keyword -> condition.
        data_set: of the first image of a series.
    """
    return all(
        any(_fits(value, condition) for value in values_of(data_set, keyword))
        for keyword, condition in conditions.items()
    )


def values_of(data_set: Dataset, keyword: str) -> tuple[Any, ...]:
    """Values of an attribute: at the top, else in shared or the first frame's functional groups."""
    if keyword in data_set:
        value = data_set.get(keyword)
        if value is None:
            return ()
        return tuple(value) if isinstance(value, MultiValue) else (value,)
    for groups in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for group in list(data_set.get(groups, ()))[:1]:
            for macro in group:
                if macro.VR == "SQ" and len(macro.value) == 1 and keyword in macro.value[0]:
                    return values_of(macro.value[0], keyword)
    return ()


def _fits(value: Any, condition: Condition) -> bool:
    if condition.matches is not None and not re.search(
        condition.matches, str(value), re.IGNORECASE
    ):
        return False
    if isinstance(condition.equals, str) and str(value) != condition.equals:
        return False
    limits = (condition.minimum, condition.maximum)
    if limits == (None, None) and not isinstance(condition.equals, float):
        return True
    try:
        number = float(value)
    except (TypeError, ValueError):
        return False
    if isinstance(condition.equals, float) and number != condition.equals:
        return False
    return (condition.minimum is None or number >= condition.minimum) and (
        condition.maximum is None or number <= condition.maximum
    )
