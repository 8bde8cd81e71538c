"""From what a header or the configuration says to a pulse sequence; nothing is invented.

A parameter that neither gives is named in the error, or fitted as nuisance to the low-resolution
maps where the caller asks for that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, replace
from typing import Literal

import torch

from models.superres.degradation import whole
from models.superres.guide_scale import guide_field
from models.superres.signal import (
    FastSpinEcho,
    Flair,
    Mprage,
    SpinEcho,
    SpoiledGradientEcho,
    WeightedSequence,
)
from models.superres.study import Study, homogeneous_weight, signals

SEQUENCES: dict[str, type[WeightedSequence]] = {
    "SE": SpinEcho,
    "FSE": FastSpinEcho,
    "SPGR": SpoiledGradientEcho,
    "MPRAGE": Mprage,
    "FLAIR": Flair,
}
"""Sequence by the name used in the configuration."""


def mprage_repetition_time(manufacturer: str) -> Literal["shot_repetition_time", "echo_spacing"]:
    """What Repetition Time (0018,0080) of an MPRAGE header of a manufacturer means.

    Args:
        manufacturer: Manufacturer (0008,0070).

    Returns:
        name of the attribute of ``Mprage``.

    Raises:
        ValueError: for a manufacturer whose meaning is not known.
    """
    name = manufacturer.casefold()
    if "philips" in name:
        return "echo_spacing"
    if "siemens" in name or name.startswith("ge"):
        return "shot_repetition_time"
    raise ValueError(f"the meaning of TR in an MPRAGE header of {manufacturer!r} is not known")


def make_sequence(kind: str, parameters: Mapping[str, float]) -> WeightedSequence:
    """A sequence of known parameters.

    Args:
        kind: key of ``SEQUENCES``.
        parameters: by attribute name, times in ms, angles in degrees.

    Raises:
        ValueError: if the kind is not known, a parameter is missing, not of this sequence or
            negative.
    """
    if kind not in SEQUENCES:
        raise ValueError(f"sequence {kind!r} is none of {', '.join(SEQUENCES)}")
    sequence = SEQUENCES[kind]
    known = {field.name: field for field in fields(sequence)}  # type: ignore[arg-type]  # each subclass is a dataclass
    missing = [n for n, f in known.items() if f.default is MISSING and n not in parameters]
    if missing:
        raise ValueError(f"{kind} lacks {', '.join(missing)}")
    strange = sorted(set(parameters) - set(known))
    if strange:
        raise ValueError(f"{kind} has no {', '.join(strange)}")
    negative = sorted(name for name, value in parameters.items() if value < 0)
    if negative:
        raise ValueError(f"{kind} has negative {', '.join(negative)}")
    return sequence(**parameters)


PURITY = 3
"""Power of the weight of homogeneous voxels: what is fitted to mixed ones is biased, while a scale
hardly suffers. On phantoms it halves the error of fitted MPRAGE contrasts."""


def fit_parameter(
    study: Study, guide: int, name: str, candidates: Sequence[float]
) -> tuple[WeightedSequence, list[float]]:
    """The guide's sequence with one unknown parameter fitted to the low-resolution maps.

    For every candidate the scale is estimated in closed form; the smallest mismatch in voxels
    of one tissue decides.

    Args:
        study: what is measured; the sequence holds any value of the parameter.
        guide: 0 for T1w, 1 for T2w.
        name: attribute of the sequence.
        candidates: values to try, in the unit of the attribute.

    Returns:
        the sequence, and the root mean square mismatch of each candidate over the mean signal.

    Raises:
        ValueError: if that guide is missing, or its scale cannot be estimated.
    """
    sequence = study.sequences[guide]
    if sequence is None:
        raise ValueError("a missing guide has no parameter to fit")
    truncation = study.truncation
    measured = truncation(study.guides[:, guide] * study.mask[:, 0])
    weight = homogeneous_weight(study.maps, truncation(study.mask[:, 0])) ** PURITY
    low_shape = tuple(study.maps.shape[2:])
    mismatches, sequences = [], []
    for value in candidates:
        tried = replace(sequence, **{name: value})  # type: ignore[type-var]  # each subclass is a dataclass
        signal = signals((tried,), study.maps)[:, 0]
        expected = guide_field(measured, signal, weight, whole(low_shape), order=0) * signal
        square = (weight * (measured - expected) ** 2).sum() / weight.sum()
        mean = (weight * measured).sum() / weight.sum()
        mismatches.append(float(torch.sqrt(square) / mean))
        sequences.append(tried)
    best = min(range(len(mismatches)), key=mismatches.__getitem__)
    return sequences[best], mismatches
