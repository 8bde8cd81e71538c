"""How a weighted image was acquired, in the words of a classic image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from operators.ingest.frames import (
    Frame,
    echo_time_of,
    inversion_time_of,
    temporal_position_of,
)
from operators.ingest.header import Header
from operators.vocabulary.acquisition import WeightedImage

_PULSES = {"SPIN": ("SE",), "GRADIENT": ("GR",), "BOTH": ("SE", "GR")}
_NO_AGENT = ("", "NO", "NONE", "N", "0")


def weighted_image(volumes: Sequence[Sequence[Frame]]) -> WeightedImage:
    """Sequence parameters from the first frame of each volume.

    Args:
        volumes: the frames of each volume.
    """
    headers = [volume[0].header for volume in volumes]
    times = [echo_time_of(header) for header in headers]
    first = headers[0]
    return WeightedImage(
        repetition_time=first.number("RepetitionTime"),
        inversion_time=inversion_time_of(first) or None,
        flip_angle=first.number("FlipAngle"),
        echo_times=np.array([np.nan if time is None else time for time in times]),
        temporal_positions=np.array([temporal_position_of(header) for header in headers]),
        scanning_sequence=_scanning_sequence(first),
        sequence_variant=first.tokens("SequenceVariant"),
        echo_train_length=_echo_train_length(first),
        acquisition_type=first.text("MRAcquisitionType"),
        contrast_agent=_contrast_agent(first),
        fat_suppressed=_fat_suppressed(first),
    )


def _scanning_sequence(header: Header) -> tuple[str, ...]:
    """Scanning Sequence, or the same from the attributes of an Enhanced image (C.8.13.4)."""
    stated = header.tokens("ScanningSequence")
    if stated:
        return stated
    tokens = list(_PULSES.get(header.text("EchoPulseSequence").upper(), ()))
    if header.text("EchoPlanarPulseSequence").upper() == "YES":
        tokens.append("EP")
    if header.text("InversionRecovery").upper() == "YES":
        tokens.append("IR")
    return tuple(tokens)


def _echo_train_length(header: Header) -> int | None:
    length = header.number("RFEchoTrainLength") or header.number("EchoTrainLength")
    return None if length is None else int(length)


def _contrast_agent(header: Header) -> bool:
    """Whether an agent is named (PS3.3 C.7.6.4, C.7.6.4b)."""
    stated = header.text("ContrastBolusAgent").upper() not in _NO_AGENT
    return stated or bool(header.items("ContrastBolusAgentSequence"))


def _fat_suppressed(header: Header) -> bool | None:
    suppression = header.text("SpectrallySelectedSuppression").upper()
    if suppression:
        return "FAT" in suppression
    options = header.tokens("ScanOptions")
    if not options:
        return None
    return any(token in ("FS", "SFS") for token in options)
