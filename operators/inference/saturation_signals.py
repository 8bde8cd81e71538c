"""The pixels of a saturation series, checked, with the voxels that can be analysed."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from models.cest_mt.schedule import SaturationSchedule
from operators.inference.brain_mask import foreground_mask
from operators.inference.pixel_check import check_pixels, repeated_volumes
from operators.inference.saturation_check import reference_image, saturation_findings
from operators.vocabulary.acquisition import Acquisition
from operators.vocabulary.finding import Finding


@dataclass(frozen=True)
class SaturationSignals:
    """What was measured.

    Attributes:
        array: float32 (slices, rows, columns, images).
        reference: (slices, rows, columns) M0, or the mean image where there is none.
        foreground: boolean, same shape: brighter than air.
        region: boolean, same shape: those of which M0 is positive.
        findings: about the pixels.
        timings: seconds per step.
    """

    array: np.ndarray
    reference: np.ndarray
    foreground: np.ndarray
    region: np.ndarray
    findings: tuple[Finding, ...]
    timings: dict[str, float]


def read_signals(acquisition: Acquisition, schedule: SaturationSchedule) -> SaturationSignals:
    """Read the series and check its pixels.

    Raises:
        Refusal: the pixels cannot be measurements.
    """
    began = time.perf_counter()
    array = acquisition.volume().array
    read = time.perf_counter()
    check_pixels(array)
    reference = reference_image(array, schedule)
    foreground = foreground_mask(reference)
    region = foreground & (reference > 0)
    findings = [
        *repeated_volumes(array),
        *saturation_findings(array, reference, region, schedule),
    ]
    return SaturationSignals(
        array,
        reference,
        foreground,
        region,
        tuple(findings),
        {"read": read - began, "check": time.perf_counter() - read},
    )


def left_out(foreground: np.ndarray, analysed: np.ndarray) -> list[Finding]:
    """How many voxels above the background are not analysed.

    Args:
        foreground: boolean (slices, rows, columns).
        analysed: boolean, same shape.
    """
    missing = int(np.count_nonzero(foreground & ~analysed))
    if not missing:
        return []
    total = int(np.count_nonzero(foreground))
    return [
        Finding(
            "voxels-left-out",
            f"{missing} of {total} voxels ({missing / total:.1%}) above the background are not "
            "analysed: M0 is not positive there, or a map or the fit gives no value.",
        )
    ]
