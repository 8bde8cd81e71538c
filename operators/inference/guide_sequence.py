"""What a weighted image is by its sequence parameters: T1w, T2w, and by which signal equation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from operators.vocabulary.acquisition import WeightedImage

Weighting = Literal["t1w", "t2w"]

LONGEST_T1W_ECHO, SHORTEST_T2W_ECHO = 30.0, 60.0
"""TE, ms, of spin echoes."""
LONGEST_T1W_REPETITION, SHORTEST_T2W_REPETITION = 1200.0, 2000.0
"""TR, ms, of spin echoes."""
LONGEST_MPRAGE_INVERSION = 1500.0
"""TI, ms: beyond it the image is made to null fluid."""
LONGEST_SPGR_REPETITION = 60.0
"""TR, ms, of spoiled gradient echoes."""


@dataclass(frozen=True)
class GuideKind:
    """What a series can guide.

    Attributes:
        weighting: what it is weighted by.
        equation: its signal equation: "SE", "FSE", "SPGR" or "MPRAGE".
        volume: which volume of its series.
    """

    weighting: Weighting
    equation: str
    volume: int


def guide_kind(protocol: WeightedImage) -> GuideKind | None:
    """What a series can guide, or None: FLAIR, PD-weighted, echo planar, T2*, bSSFP."""
    equation = _equation(protocol)
    if equation is None:
        return None
    found = []
    for volume, stated in enumerate(protocol.echo_times):
        weighting = _weighting(protocol, equation, None if np.isnan(stated) else float(stated))
        if weighting is not None:
            found.append(GuideKind(weighting, equation, volume))
    # Echoes of one train: the one that is T2-weighted guides, the proton density one does not.
    return found[0] if len(found) == 1 else None


def is_unclear(protocol: WeightedImage) -> bool:
    """Whether a spin echo states no TR or no TE, so that nothing says how it is weighted."""
    if _equation(protocol) not in ("SE", "FSE"):
        return False
    return protocol.repetition_time is None or bool(np.isnan(protocol.echo_times).all())


def named_kind(protocol: WeightedImage, weighting: Weighting, equation: str | None) -> GuideKind:
    """What a series is that the settings name as a guide, whatever its headers lack.

    Args:
        protocol: of the series.
        weighting: of the guide that it is named as.
        equation: its signal equation where the settings give it.
    """
    found = guide_kind(protocol)
    if found is not None and found.weighting == weighting:
        return found
    usual = "MPRAGE" if weighting == "t1w" else "FSE"
    return GuideKind(weighting, equation or _equation(protocol) or usual, 0)


def _equation(protocol: WeightedImage) -> str | None:
    tokens = set(protocol.scanning_sequence)
    if "EP" in tokens or not tokens & {"SE", "GR"}:
        return None
    inversion = protocol.inversion_time
    if "GR" in tokens and "SE" not in tokens:
        prepared = "MP" in protocol.sequence_variant or "IR" in tokens or inversion is not None
        if prepared:
            short = inversion is None or inversion <= LONGEST_MPRAGE_INVERSION
            return "MPRAGE" if short else None
        short = (protocol.repetition_time or np.inf) <= LONGEST_SPGR_REPETITION
        balanced = "SS" in protocol.sequence_variant and "SP" not in protocol.sequence_variant
        return "SPGR" if short and not balanced else None
    if "GR" in tokens or "IR" in tokens or inversion is not None:
        return None
    return "FSE" if (protocol.echo_train_length or 1) > 1 else "SE"


def _weighting(protocol: WeightedImage, equation: str, echo_time: float | None) -> Weighting | None:
    if equation in ("MPRAGE", "SPGR"):
        return "t1w"
    repetition_time = protocol.repetition_time
    if repetition_time is None or echo_time is None:
        return None
    if echo_time <= LONGEST_T1W_ECHO and repetition_time <= LONGEST_T1W_REPETITION:
        return "t1w"
    if echo_time >= SHORTEST_T2W_ECHO and repetition_time >= SHORTEST_T2W_REPETITION:
        return "t2w"
    return None
