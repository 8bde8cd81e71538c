"""The gradient table of a series, and which of its frames make it up."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from operators.ingest.frames import Frame, temporal_position_of
from operators.ingest.gradients.reading import weighting_of
from operators.ingest.gradients.weighting import Weighting
from operators.ingest.volumes import Key
from operators.vocabulary.acquisition import GradientTable
from operators.vocabulary.finding import Finding, Severity
from operators.vocabulary.refusal import Refusal

_SILENT_ON_B0 = ("GE", "CANON", "TOSHIBA")
"""Manufacturers of which unweighted images may state no b-value at all."""


def weightings_of(frames: Sequence[Frame]) -> list[Weighting]:
    """The weighting of every frame of a diffusion series.

    Raises:
        Refusal: some frame states none, and its vendor is not known to leave it out at b0.
        HeaderValueError: an element that states it is malformed.
    """
    found = [weighting_of(frame.header, frame.orientation) for frame in frames]
    silent = sum(weighting is None for weighting in found)
    maker = frames[0].header.text("Manufacturer").upper()
    if silent == len(frames):
        raise Refusal(
            "missing-b-values",
            "no image states a b-value; the private elements of the scanner may have been removed",
            "Send the series without de-identification of private elements (keep the safe "
            "private attributes of DICOM PS3.15 E.3.10).",
        )
    if silent and not maker.startswith(_SILENT_ON_B0):
        raise Refusal(
            "missing-b-values",
            f"{silent} of {len(frames)} images state no b-value",
            "Send the complete series with its private elements.",
        )
    unweighted = Weighting(0.0, None, isotropic=False, source="no b-value stated")
    return [unweighted if weighting is None else weighting for weighting in found]


def diffusion_dimensions(frame: Frame, weighting: Weighting) -> Key:
    """What varies between the volumes of a diffusion series."""
    direction = weighting.direction if weighting.weighted else None
    return (
        round(weighting.b_value, 2),
        None if direction is None else tuple(round(part, 3) for part in direction),
        weighting.isotropic,
        temporal_position_of(frame.header),
    )


def gradient_table(
    weightings: Sequence[Weighting],
) -> tuple[GradientTable, np.ndarray, list[Finding]]:
    """The table of the volumes that have a direction or are unweighted.

    Args:
        weightings: of each volume.

    Returns:
        the table of the kept volumes, their indices, and what was noticed.

    Raises:
        Refusal: no weighted volume has a direction.
    """
    kept: list[int] = []
    traces: list[int] = []
    for index, weighting in enumerate(weightings):
        is_trace = weighting.weighted and (weighting.isotropic or weighting.direction is None)
        (traces if is_trace else kept).append(index)
    weighted = [weightings[index] for index in kept if weightings[index].weighted]
    if not weighted:
        raise Refusal(
            "missing-directions",
            f"no volume of b ≥ 50 s/mm² has a gradient direction ({len(traces)} have none)",
            "Send the diffusion-weighted images themselves, with their private elements, not "
            "the trace images.",
        )
    b_values = np.array([weightings[index].b_value for index in kept])
    directions = np.array(
        [
            (weightings[index].direction if weightings[index].weighted else None) or (0.0, 0.0, 0.0)
            for index in kept
        ]
    )
    findings = []
    if traces:
        shown = ", ".join(sorted({f"{weightings[index].b_value:g}" for index in traces}))
        findings.append(
            Finding(
                "trace-volumes-dropped",
                f"{len(traces)} of {len(weightings)} volumes are trace images without a "
                f"direction (b = {shown} s/mm²) and were not used",
                Severity.INFORMATION,
            )
        )
    if any(weighting.nominal_b_value is not None for weighting in weighted):
        findings.append(
            Finding(
                "b-values-scaled",
                "b-values were multiplied by the squared length of their directions, as this "
                "release of GE software means them",
                Severity.WARNING,
            )
        )
    if not all(weighting.sign_known for weighting in weighted):
        findings.append(
            Finding(
                "directions-from-b-matrix",
                "gradient directions come from b-matrices and are known up to their sign only",
                Severity.INFORMATION,
            )
        )
    return GradientTable(b_values, directions), np.array(kept), findings
