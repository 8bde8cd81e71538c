"""Whether the pixels of a saturation series can be what its schedule says."""

from __future__ import annotations

import numpy as np

from models.cest_mt.schedule import SaturationSchedule
from operators.vocabulary.finding import Finding, Severity

#: Saturation takes signal away: voxels whose largest saturated signal exceeds M0 by more.
ABOVE_M0 = 1.1
#: Part of the voxels above which that is reported.
NOTABLE = 0.05
#: Part of the voxels that have the largest value of all in some image, above which the scanner
#: or its reconstruction has cut values off: noise lets single voxels have it.
CUT_OFF = 0.001
_FEWEST_CUT_OFF = 10


def reference_image(signals: np.ndarray, schedule: SaturationSchedule) -> np.ndarray:
    """Mean of the M0 images; of all images where the schedule has no M0 image.

    Args:
        signals: (slices, rows, columns, images).
        schedule: that made them.

    Returns:
        float32 (slices, rows, columns).
    """
    indices = schedule.m0_images or range(signals.shape[-1])
    total = np.zeros(signals.shape[:3], np.float32)
    for index in indices:
        total += signals[..., index]
    return total / np.float32(len(indices))


def saturation_findings(
    signals: np.ndarray, reference: np.ndarray, region: np.ndarray, schedule: SaturationSchedule
) -> list[Finding]:
    """Negative signals, signals cut off at the top, and signals that saturation cannot have left.

    Args:
        signals: (slices, rows, columns, images).
        reference: (slices, rows, columns), of :func:`reference_image`.
        region: boolean, same shape: voxels that are analysed.
        schedule: that made the images.
    """
    voxels = int(np.count_nonzero(region))
    if voxels == 0:
        return []
    findings = []
    lowest, highest = np.full(voxels, np.inf), np.full(voxels, -np.inf)
    top = max(float(plane.max()) for plane in signals)
    cut_off = np.zeros(voxels, dtype=bool)
    for index in range(signals.shape[-1]):
        image = signals[..., index][region]
        np.minimum(lowest, image, out=lowest)
        cut_off |= image >= top
        if index not in schedule.m0_images:
            np.maximum(highest, image, out=highest)
    negative = int(np.count_nonzero(lowest < 0))
    if negative:
        findings.append(
            Finding(
                "negative-signal",
                f"{negative} of {voxels} voxels ({negative / voxels:.2%}) have a negative signal "
                "in some image, which a magnitude has not; used as it is.",
            )
        )
    cut = int(np.count_nonzero(cut_off))
    if cut >= max(_FEWEST_CUT_OFF, CUT_OFF * voxels):
        findings.append(
            Finding(
                "signal-cut-off",
                f"{cut} of {voxels} voxels ({cut / voxels:.2%}) have the largest value of the "
                f"series, {top:g}, in some image: values seem to be cut off there (receiver or "
                "number of bits), and their parameters are wrong.",
                Severity.ERROR if cut > NOTABLE * voxels else Severity.WARNING,
            )
        )
    if schedule.m0_images:
        above = float(np.mean(highest > ABOVE_M0 * reference[region]))
        if above > NOTABLE:
            findings.append(
                Finding(
                    "signal-above-m0",
                    f"In {above:.1%} of {voxels} voxels a saturated signal exceeds M0 by more "
                    f"than {ABOVE_M0 - 1:.0%}: is {schedule.name} the protocol of this series?",
                    Severity.ERROR,
                )
            )
    return findings
