"""The sequence parameters of a guide: from its headers, from the settings, or missing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from models.superres.protocol import mprage_repetition_time
from operators.inference.guide_sequence import LONGEST_SPGR_REPETITION, GuideKind
from operators.inference.settings import GuideSettings
from operators.vocabulary.acquisition import WeightedImage

FEWEST_MPRAGE_READOUTS = 16
"""Philips gives the readouts of an inversion as Echo Train Length, others 1."""
LONG_TRAIN = 40
"""Echoes after one excitation from which refocusing angles vary, so that TE is not the contrast."""

NEEDED: dict[str, tuple[str, ...]] = {
    "SE": ("repetition_time", "echo_time"),
    "FSE": ("repetition_time", "effective_echo_time"),
    "SPGR": ("repetition_time", "flip_angle"),
    "MPRAGE": (
        "shot_repetition_time", "inversion_time", "flip_angle", "echo_spacing", "readouts",
        "centre_readout",
    ),
}  # fmt: skip
"""Parameters without which a signal equation cannot be evaluated, as ``models.superres.signal``
names them."""

_OPTIONAL = {
    "SE": (), "FSE": ("echo_train_duration",), "SPGR": ("echo_time",), "MPRAGE": ("echo_time",),
}  # fmt: skip

FITTED = ("shot_repetition_time", "echo_spacing", "readouts", "centre_readout")
"""Parameters that no standard attribute holds and that can be fitted to the measured maps."""


@dataclass(frozen=True)
class GuideParameters:
    """How a guide was acquired, as far as that is known.

    Attributes:
        known: by attribute name of the signal equation; times in ms, angles in degrees.
        missing: names of those that are not known.
        echo_time_doubtful: whether the contrast may be that of another TE than the header's: long
            trains of low refocusing angles (Busse et al. 2006, doi 10.1002/mrm.20863).
    """

    known: dict[str, float]
    missing: tuple[str, ...]
    echo_time_doubtful: bool

    @property
    def must_be_stated(self) -> tuple[str, ...]:
        """Missing parameters that cannot be fitted."""
        return tuple(name for name in self.missing if name not in FITTED)


def guide_parameters(
    protocol: WeightedImage, kind: GuideKind, manufacturer: str, settings: GuideSettings
) -> GuideParameters:
    """What headers and settings say of a guide; settings win.

    Args:
        protocol: of the series.
        kind: what it was taken for.
        manufacturer: Manufacturer (0008,0070).
        settings: of this guide.
    """
    equation = settings.sequence or kind.equation
    names = (*NEEDED[equation], *_OPTIONAL[equation])
    stated = _stated(protocol, kind.volume, manufacturer, equation)
    configured = {
        "effective_echo_time" if (equation, name) == ("FSE", "echo_time") else name: float(value)
        for name, value in settings.model_dump(exclude={"series_number", "sequence"}).items()
        if value is not None
    }
    values = {**stated, **configured}
    known = {name: values[name] for name in names if name in values}
    long_train = (
        protocol.acquisition_type == "3D" or (protocol.echo_train_length or 1) >= LONG_TRAIN
    )
    return GuideParameters(
        known,
        tuple(name for name in NEEDED[equation] if name not in known),
        equation == "FSE" and long_train and "effective_echo_time" not in configured,
    )


def _stated(
    protocol: WeightedImage, volume: int, manufacturer: str, equation: str
) -> dict[str, float]:
    echo_time = float(protocol.echo_times[volume])
    values: dict[str, float | None] = {
        "repetition_time": protocol.repetition_time,
        "echo_time": None if np.isnan(echo_time) else echo_time,
        "effective_echo_time": None if np.isnan(echo_time) else echo_time,
        "flip_angle": protocol.flip_angle,
        "inversion_time": protocol.inversion_time,
    }
    if equation == "MPRAGE":
        readouts = protocol.echo_train_length or 0
        values["readouts"] = readouts if readouts >= FEWEST_MPRAGE_READOUTS else None
        meaning = _meaning_of_repetition_time(protocol, manufacturer)
        if meaning is not None:
            values[meaning] = protocol.repetition_time
    return {name: float(value) for name, value in values.items() if value is not None}


def _meaning_of_repetition_time(
    protocol: WeightedImage, manufacturer: str
) -> Literal["shot_repetition_time", "echo_spacing"] | None:
    """What Repetition Time of an MPRAGE header means, or None where that is not known.

    A time shorter than TI is not that between inversions, and a long one is no echo spacing,
    whoever wrote it.
    """
    time = protocol.repetition_time
    if time is None:
        return None
    if time < LONGEST_SPGR_REPETITION:
        return "echo_spacing"
    try:
        meaning = mprage_repetition_time(manufacturer)
    except ValueError:
        return None
    if meaning == "echo_spacing" or time <= (protocol.inversion_time or 0):
        return None
    return meaning
