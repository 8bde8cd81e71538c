"""What the fit of a diffusion series tells about its quality."""

from __future__ import annotations

import numpy as np

from operators.inference.gradient_check import shells
from operators.inference.volume_fit import VolumeFit
from operators.vocabulary.acquisition import GradientTable
from operators.vocabulary.finding import Finding, Severity
from operators.vocabulary.quantity import QUANTITIES

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
                f"Single slices lost or gained signal (motion?): {np.count_nonzero(single)}, in "
                f"volumes {numbers}; kept in the fit.",
            )
        )
    return findings


def fit_findings(
    fit: VolumeFit,
    signals: np.ndarray,
    table: GradientTable,
    region: str,
    minimum_signal: float | None,
) -> list[Finding]:
    """Replaced values, values beyond what is possible, and signals at the noise floor.

    Args:
        fit: of the series.
        signals: (slices, rows, columns, volumes), as fitted.
        table: of those volumes.
        region: name of ``fit.region``, in which voxels are counted.
        minimum_signal: as which smaller signals were fitted; None: those that are not positive
            were left out.
    """
    voxels = int(np.count_nonzero(fit.region))
    if not (fit.region & fit.analysed).any():
        return [
            Finding(
                "nothing-analysed",
                f"None of {voxels} voxels ({region}) could be analysed.",
                Severity.ERROR,
            )
        ]
    counts = {
        QUANTITIES[name].label: int(np.count_nonzero(outside & fit.region))
        for name, outside in fit.outside.items()
    }
    impossible = ", ".join(f"{label}: {number}" for label, number in counts.items() if number)
    findings = []
    for flagged, code, text in (
        (
            fit.raised_signals,
            "signal-below-minimum",
            "have too few positive signals for a fit: the others are taken as the smallest of them"
            if minimum_signal is None
            else f"have a signal below {minimum_signal:.4g}, fitted as {minimum_signal:.4g}",
        ),
        (
            fit.left_out_signals,
            "signal-not-positive",
            "have signals that are not positive, left out of their fit",
        ),
        (
            fit.raised_eigenvalues,
            "negative-eigenvalue",
            "have a negative eigenvalue, taken as zero in the scalars",
        ),
        (
            fit.unweighted,
            "weights-singular",
            "have the ordinary fit, because the weighted equations are singular",
        ),
        (
            ~fit.analysed,
            "value-impossible",
            f"have an impossible value ({impossible}): left as fitted, or 0 where not finite, "
            "and out of the segments",
        ),
    ):
        number = int(np.count_nonzero(flagged & fit.region))
        if number:
            severity = Severity.WARNING if number > NOTABLE * voxels else Severity.INFORMATION
            findings.append(
                Finding(
                    code,
                    f"{number} of {voxels} voxels ({region}, {number / voxels:.2%}) {text}.",
                    severity,
                )
            )
    return findings + _noise_floor(fit, signals, table, fit.region & fit.analysed)


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
