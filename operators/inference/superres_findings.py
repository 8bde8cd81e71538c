"""What a reader of super-resolved maps must know: registration, guides, residuals, bounds."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from operators.inference.registration import Alignment, Placed
from operators.vocabulary.finding import Finding, Severity

VISIBLE_SHIFT = 2.0
"""mm from which a shift is a warning."""
LARGEST_RESIDUAL = 10.0
"""Root mean square difference to a guide over its mean, in %, from which it is a warning."""
LARGEST_MISMATCH = 0.15
"""Same, as a share, at low resolution after a parameter was fitted."""
LARGEST_INCONSISTENCY = 2.0
"""Root mean square difference to the measured maps, in SD, from which it is a warning."""
LARGEST_BIAS = 3.0
"""Largest over smallest bias field of a guide, from which it is a warning."""


def alignment_findings(label: str, number: int | None, alignment: Alignment) -> list[Finding]:
    """Shift and rotation of a guide against the maps."""
    where = f"The {label} guide (series {number})"
    if not alignment.registered:
        return [
            Finding(
                "guide-not-registered",
                f"{where} or the maps are a slab too thin to be registered: the positions in the "
                "headers were believed.",
            )
        ]
    moved = f"{alignment.shift:.2f} mm and {alignment.rotation:.2f} degrees"
    if alignment.is_identity:
        text = f"{where} lies where its headers say: registration found {moved}."
    else:
        text = f"{where} was moved by {moved} onto the maps."
    severity = Severity.WARNING if alignment.shift >= VISIBLE_SHIFT else Severity.INFORMATION
    return [Finding("guide-registered", text, severity)]


def resampled_finding(label: str, number: int | None, placed: Placed) -> list[Finding]:
    """Says that a guide was interpolated."""
    if not placed.interpolated:
        return []
    return [
        Finding(
            "guide-resampled",
            f"The {label} guide (series {number}) was interpolated with cubic B-splines onto the "
            "grid of the result.",
            Severity.INFORMATION,
        )
    ]


def coverage_finding(share: float) -> list[Finding]:
    """Says which share of the head the guides do not cover."""
    if share > 0.995:
        return []
    return [
        Finding(
            "guide-does-not-cover",
            f"The guides do not cover {100 * (1 - share):.1f} % of the head: no result there.",
        )
    ]


def masked_maps_finding(share: float) -> list[Finding]:
    """Says that the maps end where the guides do not."""
    return [
        Finding(
            "maps-are-masked",
            f"The maps hold nothing in {100 * share:.0f} % of the head that the guides show: no "
            "result there, and none to be believed within a coarse voxel of that border.",
        )
    ]


def fitted_finding(
    label: str, number: int | None, fitted: Mapping[str, float], mismatch: float
) -> Finding:
    """Says which sequence parameters were fitted to the maps."""
    values = ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in fitted.items())
    return Finding(
        "sequence-parameters-fitted",
        f"The headers of the {label} guide (series {number}) do not say how it was made: fitted "
        f"to the measured maps were {values} (ms; mismatch {100 * mismatch:.1f} % of the mean).",
        Severity.WARNING if mismatch > LARGEST_MISMATCH else Severity.INFORMATION,
    )


def guide_findings(
    label: str, number: int | None, field: np.ndarray, residual: np.ndarray, noise: float
) -> list[Finding]:
    """Scale, bias and residual of a guide.

    Args:
        label: "T1w" or "T2w".
        number: its Series Number.
        field: (voxels,) what the guide was divided by, in the head.
        residual: (voxels,) guide minus synthesised image over the mean, in %.
        noise: SD over mean that the guide was taken to have.
    """
    low, high = np.percentile(field, [1, 99])
    scale = float(np.median(field))
    rms = float(np.sqrt(np.mean(residual.astype(np.float64) ** 2)))
    return [
        Finding(
            "guide-scale",
            f"{label} guide (series {number}): one unit of proton density is {scale:.4g} of its "
            f"units; its bias field spans {low / scale:.2f} to {high / scale:.2f} of that; noise "
            f"taken as {100 * noise:.1f} % of the mean.",
            Severity.WARNING if high > LARGEST_BIAS * low else Severity.INFORMATION,
        ),
        Finding(
            "guide-residual",
            f"The {label} image synthesised from the result differs from the guide by "
            f"{rms:.1f} % of its mean (root mean square in the head).",
            Severity.WARNING if rms > LARGEST_RESIDUAL else Severity.INFORMATION,
        ),
    ]


def consistency_finding(residuals: Mapping[str, float]) -> Finding:
    """Agreement of the truncated result with the measured maps.

    Args:
        residuals: label -> root mean square residual in SD of noise and model.
    """
    shown = ", ".join(f"{label} {value:.2f}" for label, value in residuals.items())
    worst = max(residuals.values())
    return Finding(
        "map-consistency",
        f"Truncated to the resolution of the measured maps, the result differs from them by "
        f"{shown} SD of noise and model (root mean square in the head).",
        Severity.WARNING if worst > LARGEST_INCONSISTENCY else Severity.INFORMATION,
    )


def disagreement_finding(share: float, limit: float) -> Finding:
    """Share of the head where guides and maps contradict each other."""
    return Finding(
        "guides-and-maps-disagree",
        f"Guides and measured maps disagree by {limit:g} SD or more in {100 * share:.2g} % of the "
        "brain. What only one of them shows was kept there: read the disagreement map.",
        Severity.WARNING if share > 0.001 else Severity.INFORMATION,
    )


def bounds_finding(share: float) -> Finding:
    """Share of the voxels at an end of the range of T1, T2 or PD."""
    return Finding(
        "values-at-bounds",
        f"{100 * share:.2g} % of the voxels lie at an end of the range of PD, T1 or T2.",
        Severity.WARNING if share > 0.01 else Severity.INFORMATION,
    )
