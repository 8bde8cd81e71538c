"""Whether values can be PD, T1 and T2 of a head: units, physics, noise."""

from __future__ import annotations

import numpy as np

from operators.vocabulary.finding import Finding
from operators.vocabulary.quantity import QUANTITIES
from operators.vocabulary.refusal import Refusal

NAMES = ("proton_density", "t1", "t2")
PLAUSIBLE = {"proton_density": (0.4, 1.1), "t1": (200.0, 3000.0), "t2": (20.0, 500.0)}
"""Medians over the tissue of a head that any field strength from 0.5 to 7 T can give."""
POSSIBLE = {"proton_density": (0.0, 2.0), "t1": (0.0, 10000.0), "t2": (0.0, 5000.0)}
"""Values of a voxel that are no fault; free water has a T2 of 2 to 3 s."""
MOST_IMPOSSIBLE = 0.05
"""Share of tissue voxels with impossible values up to which a set is flagged and not refused."""
_OTHER_UNITS = {
    "proton_density": ((0.01, "%"), (0.001, "10-3")),
    "t1": ((1000.0, "s"), (0.001, "us")),
    "t2": ((1000.0, "s"), (0.001, "us")),
}
"""Factor by which values in another unit become those of the quantity, and that unit."""
AIR = 0.03
"""PD up to which a voxel of the maps is air: its T1 and T2 are noise."""
_TISSUE = 0.2
_QUARTILE_TO_SD = 1 / 0.31864
NOISE_SHARES = (0.003, 0.05)
"""Least and largest noise that is believed, over the mean in the head."""


def check_maps(maps: np.ndarray, series_numbers: str) -> list[Finding]:
    """Refuse maps whose values cannot be what they are said to be.

    Args:
        maps: (3, slices, rows, columns) PD, T1 in ms, T2 in ms.
        series_numbers: of the maps, for people.

    Raises:
        Refusal: values are not finite, in another unit than stated, or outside physics.
    """
    if not np.isfinite(maps).all():
        raise Refusal(
            "map-not-finite",
            f"{np.count_nonzero(~np.isfinite(maps))} values of the maps are not finite",
            "Send the maps as the scanner reconstructed them.",
        )
    tissue = (maps[1] > 0) & (maps[2] > 0)
    largest = np.percentile(maps[0][tissue], 95) if tissue.any() else 0.0
    tissue &= maps[0] > _TISSUE * largest
    if np.count_nonzero(tissue) < 100:
        raise Refusal(
            "maps-without-tissue",
            f"PD, T1 and T2 (series {series_numbers}) are positive together in "
            f"{np.count_nonzero(tissue)} voxels",
            "Send maps of a head that belong together.",
        )
    findings = []
    for name, values in zip(NAMES, maps, strict=True):
        inside = values[tissue]
        _check_median(name, float(np.median(inside)))
        findings += _check_range(name, inside)
    swapped = float(np.mean(maps[2][tissue] > maps[1][tissue]))
    if swapped > MOST_IMPOSSIBLE:
        raise Refusal(
            "values-outside-physics",
            f"T2 is longer than T1 in {100 * swapped:.0f} % of the tissue",
            "Check which series is T1 and which T2, and their units.",
        )
    return findings


def _check_median(name: str, median: float) -> None:
    quantity = QUANTITIES[name]
    low, high = PLAUSIBLE[name]
    if low <= median <= high:
        return
    unit = "" if quantity.unit.value == "1" else f" {quantity.unit.value}"
    for factor, other in _OTHER_UNITS[name]:
        if low <= median * factor <= high:
            raise Refusal(
                "map-in-another-unit",
                f"the median {quantity.label} of the tissue is {median:.4g}{unit}: the values seem "
                f"to be in {other}, and were read as{unit or ' shares of water'}",
                f"State the unit: a rule under ingest.quantity_maps with quantity {name} and "
                f'unit "{other}".',
            )
    raise Refusal(
        "values-outside-physics",
        f"the median {quantity.label} of the tissue is {median:.4g}{unit}; in a head it lies "
        f"between {low:g} and {high:g}",
        "Check the unit and the scale of the map; PD must be relative to water.",
    )


def _check_range(name: str, inside: np.ndarray) -> list[Finding]:
    quantity = QUANTITIES[name]
    low, high = POSSIBLE[name]
    share = float(np.mean((inside < low) | (inside > high)))
    if share > MOST_IMPOSSIBLE:
        raise Refusal(
            "values-outside-physics",
            f"{100 * share:.0f} % of the tissue has a {quantity.label} outside {low:g} to "
            f"{high:g} {quantity.unit.value}",
            "Send the maps as the scanner reconstructed them.",
        )
    if share == 0:
        return []
    return [
        Finding(
            "values-outside-physics",
            f"{100 * share:.2g} % of the measured {quantity.label} values lie outside {low:g} to "
            f"{high:g} {quantity.unit.value}.",
        )
    ]


def without_air(maps: np.ndarray) -> np.ndarray:
    """The maps with T1 and T2 of zero where there is no signal to measure them from.

    Args:
        maps: (3, slices, rows, columns).
    """
    return np.where((maps[0] < AIR) & (np.arange(3) > 0)[:, None, None, None], 0, maps)


def noise_share(image: np.ndarray, mask: np.ndarray) -> float:
    """SD of the noise over the mean of an image, from the finest detail in its flattest parts.

    The diagonal detail of the Haar wavelet holds the noise and few edges (Donoho and Johnstone
    1994, doi 10.1093/biomet/81.3.425); the lower quartile of its magnitude leaves out most of
    them. Interpolated images have less detail, so that their noise is underestimated.

    Args:
        image: (slices, rows, columns).
        mask: boolean, same shape: the head.

    Returns:
        Between ``NOISE_SHARES``.
    """
    low, high = NOISE_SHARES
    rows, columns = image.shape[1] // 2 * 2, image.shape[2] // 2 * 2
    corners = [
        (slice(None), slice(i, rows, 2), slice(j, columns, 2)) for i in (0, 1) for j in (0, 1)
    ]
    inside = np.all([mask[corner] for corner in corners], axis=0)
    if not inside.any():
        return high
    a, b, c, d = (image[corner][inside].astype(np.float64) for corner in corners)
    detail = np.abs(a - b - c + d) / 2
    share = _QUARTILE_TO_SD * np.percentile(detail, 25) / image[mask].mean()
    return float(np.clip(share, low, high))
