"""Which frames make up which volume: 4-D by whatever varies from volume to volume."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence

import numpy as np

from operators.ingest.elements import PHILIPS_B_VALUE_NUMBER, PHILIPS_DIRECTION_NUMBER
from operators.ingest.frames import (
    Frame,
    component_of,
    echo_time_of,
    inversion_time_of,
    temporal_position_of,
)
from operators.vocabulary.refusal import Refusal

_SEND_ALL = "Send the complete series; if slices were lost at the scanner, acquire it again."

Key = tuple[Hashable, ...]


def weighted_dimensions(frame: Frame) -> Key:
    """What varies between the volumes of a series without a protocol of its own."""
    header = frame.header
    return (
        component_of(header),
        _rounded(echo_time_of(header)),
        _rounded(inversion_time_of(header)),
        _rounded(header.number("FlipAngle")),
        temporal_position_of(header),
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def acquisition_order(frame: Frame) -> tuple[float, ...]:
    """Sorts frames of one plane as they were acquired.

    Temporal position, acquisition number and instance number, each where the scanner wrote
    it, then stored order. Philips numbers its b-values and directions, and scrambles the
    instance numbers.
    """
    header = frame.header
    component = ("MAGNITUDE", "", "PHASE", "REAL", "IMAGINARY").index(component_of(header))
    return (
        component,
        temporal_position_of(header),
        header.number("AcquisitionNumber") or 0,
        header.number("FrameAcquisitionNumber") or 0,
        header.number(PHILIPS_B_VALUE_NUMBER) or 0,
        header.number(PHILIPS_DIRECTION_NUMBER) or 0,
        header.number("InstanceNumber") or 0,
        frame.image,
        frame.index,
    )


def arrange(
    slice_of: np.ndarray,
    slices: int,
    dimensions: Sequence[Key],
    order: Sequence[tuple[float, ...]],
) -> np.ndarray:
    """Sort frames into volumes.

    Frames of equal ``dimensions`` in one plane are repetitions, told apart by ``order``. A
    dimension that is not the same mixture in every slice (a trigger time, say) does not tell
    volumes apart and is left out.

    Args:
        slice_of: (frames,) slice index of each frame.
        slices: number of slices.
        dimensions: for each frame, what varies from volume to volume.
        order: for each frame, its place in the acquisition.

    Returns:
        (volumes, slices) index of the frame that holds each slice of each volume; volumes in
        the order of their first frame.

    Raises:
        Refusal: a volume lacks a slice or has one twice.
    """
    keys = _telling_keys(slice_of, slices, dimensions)
    planes: dict[Key, list[list[int]]] = defaultdict(lambda: [[] for _ in range(slices)])
    for frame, key in enumerate(keys):
        planes[key][slice_of[frame]].append(frame)
    volumes: list[np.ndarray] = []
    for by_slice in planes.values():
        counts = [len(repetitions) for repetitions in by_slice]
        if len(set(counts)) > 1:
            raise _unequal(counts, len(planes))
        for repetitions in by_slice:
            repetitions.sort(key=order.__getitem__)
        volumes.extend(np.array(by_slice).T)
    volumes.sort(key=lambda frames: min(order[frame] for frame in frames))
    return np.array(volumes)


def _telling_keys(slice_of: np.ndarray, slices: int, dimensions: Sequence[Key]) -> list[Key]:
    """``dimensions`` without those of which the mixture differs between slices.

    All are kept where the slices have unequal numbers of frames: no choice would help then.
    """
    if len(set(np.bincount(slice_of, minlength=slices).tolist())) > 1:
        return list(dimensions)
    telling = []
    for values in zip(*dimensions, strict=True):
        mixtures: list[Counter[Hashable]] = [Counter() for _ in range(slices)]
        for frame, value in enumerate(values):
            mixtures[slice_of[frame]][value] += 1
        telling.append(all(mixture == mixtures[0] for mixture in mixtures))
    return [
        tuple(value for value, tells in zip(key, telling, strict=True) if tells)
        for key in dimensions
    ]


def _unequal(counts: list[int], kinds: int) -> Refusal:
    usual = Counter(counts).most_common(1)[0][0]
    fewer = [index + 1 for index, count in enumerate(counts) if count < usual]
    more = [index + 1 for index, count in enumerate(counts) if count > usual]
    of_one = "" if kinds == 1 else f" of one of {kinds} kinds of volume"
    if more and not fewer:
        return Refusal(
            "duplicate-slices",
            f"slice {more[0]} of {len(counts)}{of_one} is there {counts[more[0] - 1]} times, "
            f"the others {usual} times",
            "Remove the copies, or send the series again.",
        )
    return Refusal(
        "missing-slices",
        f"slice {fewer[0]} of {len(counts)}{of_one} is there {counts[fewer[0] - 1]} times, "
        f"others {usual} times ({len(fewer)} slices have fewer)",
        _SEND_ALL,
    )
