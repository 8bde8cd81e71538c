"""What the fit of a diffusion series tells about its quality."""

from __future__ import annotations

import numpy as np

from operators.inference.gradient_check import shells
from operators.inference.volume_fit import VolumeFit
from operators.vocabulary.acquisition import GradientTable
from operators.vocabulary.finding import Finding, Severity
from operators.vocabulary.quantity import QUANTITIES
from operators.vocabulary.result import Segment

#: Below this many noise SDs the Rician bias of a magnitude exceeds some 5 %
#: (Gudbjartsson and Patz, Magn. Reson. Med. 34:910 (1995), doi 10.1002/mrm.1910340618).
NOISE_FLOOR = 3.0
#: Part of the voxels above which a finding is a warning.
NOTABLE = 0.01
#: The same for signals at the noise floor, which cerebrospinal fluid reaches in every series.
NOTABLE_AT_NOISE_FLOOR = 0.1
#: Residual degrees of freedom from which a voxel's noise is worth estimating.
LEAST_FREEDOM = 3


def outlier_findings(slices: np.ndarray, volumes: np.ndarray, action: str) -> list[Finding]:
    """Volumes and single slices that the fit does not explain.

    Args:
        slices: boolean (slices, volumes).
        volumes: indices of volumes that are outliers as a whole.
        action: "keep" or "drop".
    """
    findings = []
    if len(volumes):
        numbers = ", ".join(str(index + 1) for index in volumes)
        done = "left out of the fit" if action == "drop" else "kept in the fit"
        code = "outlier-volumes-dropped" if action == "drop" else "outlier-volumes"
        findings.append(
            Finding(code, f"Residuals of volumes {numbers} stand out (motion?); {done}.")
        )
    single = slices.copy()
    single[:, volumes] = False
    if single.any():
        affected = np.flatnonzero(single.any(axis=0))
        numbers = ", ".join(str(index + 1) for index in affected)
        findings.append(
            Finding(
                "outlier-slices",
                f"Residuals of {np.count_nonzero(single)} single slices stand out, in volumes "
                f"{numbers} (signal dropout?); kept in the fit.",
            )
        )
    return findings


def fit_findings(
    fit: VolumeFit,
    signals: np.ndarray,
    table: GradientTable,
    region: Segment,
    minimum_signal: float,
) -> list[Finding]:
    """Replaced values, values beyond what is possible, and signals at the noise floor.

    Args:
        fit: of the series.
        signals: (slices, rows, columns, volumes), as fitted.
        table: of those volumes.
        region: where signals are compared with the noise.
        minimum_signal: as which smaller signals were fitted.
    """
    fitted = int(np.count_nonzero(fit.fitted))
    if not fit.analysed.any():
        return [
            Finding(
                "nothing-analysed",
                f"None of the {fitted} voxels above the background could be analysed.",
                Severity.ERROR,
            )
        ]
    counts = [
        (
            fit.raised_signals,
            "signal-below-minimum",
            f"have a signal below {minimum_signal:.4g}, fitted as {minimum_signal:.4g}",
        ),
        (
            fit.raised_eigenvalues,
            "negative-eigenvalue",
            "have a negative eigenvalue, taken as zero in the scalars",
        ),
        (fit.unweighted, "weights-singular", "have the ordinary instead of the weighted fit"),
    ]
    outside = {QUANTITIES[name].label: number for name, number in fit.outside.items() if number}
    counts.append(
        (
            int(np.count_nonzero(fit.fitted & ~fit.analysed)),
            "value-impossible",
            f"have an impossible value ({', '.join(f'{k}: {n}' for k, n in outside.items())}): "
            "left as fitted, or 0 where not finite, and out of the segments",
        )
    )
    findings = [
        Finding(
            code,
            f"{number} of {fitted} voxels ({number / fitted:.2%}) {text}.",
            Severity.WARNING if number > NOTABLE * fitted else Severity.INFORMATION,
        )
        for number, code, text in counts
        if number
    ]
    return findings + _noise_floor(fit, signals, table, region.volume.array > 0)


def _noise_floor(
    fit: VolumeFit, signals: np.ndarray, table: GradientTable, region: np.ndarray
) -> list[Finding]:
    if len(table.b_values) - 7 < LEAST_FREEDOM or not region.any():
        return [
            Finding(
                "noise-not-estimated",
                f"{len(table.b_values)} volumes are too few to estimate the noise from residuals.",
                Severity.INFORMATION,
            )
        ]
    noise = float(np.median(fit.noise[region]))
    numbers = shells(table.b_values)
    highest = np.flatnonzero(numbers == numbers.max())
    mean = np.zeros(int(np.count_nonzero(region)), np.float32)
    for index in highest:
        mean += signals[..., index][region]
    part = float(np.mean(mean / len(highest) < NOISE_FLOOR * noise))
    if part == 0:
        return []
    return [
        Finding(
            "noise-floor",
            f"At b {table.b_values[highest].max():.0f} s/mm² the mean signal of {part:.1%} of "
            f"{region.sum()} voxels is below {NOISE_FLOOR:g} noise SDs ({noise:.3g}): "
            "diffusivity is underestimated there.",
            Severity.WARNING if part > NOTABLE_AT_NOISE_FLOOR else Severity.INFORMATION,
        )
    ]
