"""MTR asymmetry at the amide frequency: the APT-weighted signal.

Zhou et al., "Review and consensus recommendations on clinical APT-weighted imaging",
Magn. Reson. Med. 88:546 (2022), doi 10.1002/mrm.29241.
"""

from __future__ import annotations

import numpy as np
from scipy.interpolate import PchipInterpolator

AMIDE = 3.5
"""Offset in ppm above water of the asymmetry."""

WIDEST_GAP = 1.0
"""ppm between samples across which a spectrum is interpolated at most."""


def why_no_asymmetry(offsets: np.ndarray, at: float = AMIDE) -> str:
    """Why these offsets give no asymmetry at ``at`` ppm, or "" where they do.

    Args:
        offsets: (samples,) ppm, ascending.
        at: ppm above water.
    """
    for side in (-at, at):
        if not _covered(offsets, np.array([side]))[0]:
            return (
                f"the offsets {offsets.min():g} to {offsets.max():g} ppm do not enclose {side:g} "
                f"ppm by samples at most {WIDEST_GAP:g} ppm apart, so that the two sides of "
                "water cannot be compared"
            )
    return ""


def mtr_asymmetry(
    offsets: np.ndarray, z: np.ndarray, water: np.ndarray, at: float = AMIDE
) -> np.ndarray:
    """Z on the far side of water minus Z at ``at`` ppm from it, B0 corrected, in percent.

    The spectrum of each voxel is interpolated by monotone cubic pieces (Fritsch and Carlson,
    SIAM J. Numer. Anal. 17:238 (1980), doi 10.1137/0717021), which do not overshoot where
    samples are unevenly spaced.

    Args:
        offsets: (samples,) ppm, strictly ascending.
        z: (voxels, samples), M over M0, finite.
        water: (voxels,) frequency of water, ppm.
        at: ppm above water.

    Returns:
        (voxels,) percent of M0; NaN where the corrected offsets are not enclosed by samples
        at most ``WIDEST_GAP`` apart: nothing is extrapolated.
    """
    pieces = PchipInterpolator(offsets, z, axis=1)
    return 100 * (_at(pieces, offsets, water - at) - _at(pieces, offsets, water + at))


def _covered(offsets: np.ndarray, places: np.ndarray) -> np.ndarray:
    piece = np.clip(np.searchsorted(offsets, places, side="right") - 1, 0, len(offsets) - 2)
    inside = (places >= offsets[0]) & (places <= offsets[-1])
    narrow = offsets[piece + 1] - offsets[piece] <= WIDEST_GAP
    # A sample of its own needs no neighbour.
    sampled = (places == offsets[piece]) | (places == offsets[piece + 1])
    return np.asarray(inside & (narrow | sampled))


def _at(pieces: PchipInterpolator, offsets: np.ndarray, places: np.ndarray) -> np.ndarray:
    """(voxels,) the spectrum of each voxel at its own place."""
    piece = np.clip(np.searchsorted(offsets, places, side="right") - 1, 0, len(offsets) - 2)
    distance = places - offsets[piece]
    voxels = np.arange(len(places))
    value = np.zeros(len(places))
    for coefficients in pieces.c:
        value = value * distance + coefficients[piece, voxels]
    return np.where(_covered(offsets, places), value, np.nan)
