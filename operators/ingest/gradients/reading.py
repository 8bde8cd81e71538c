"""The weighting of an image: standard attributes first, the vendor's where these are silent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from operators.ingest.gradients.vendors import READERS
from operators.ingest.gradients.weighting import (
    UNWEIGHTED,
    Weighting,
    principal_direction,
    unit_vector,
)
from operators.ingest.header import Header

_SAME_B_VALUE = 1.0
_B_MATRIX = tuple(f"DiffusionBValue{axes}" for axes in ("XX", "XY", "XZ", "YY", "YZ", "ZZ"))


def weighting_of(header: Header, orientation: Sequence[float]) -> Weighting | None:
    """Diffusion weighting of an image or frame, or None where nothing states any.

    Args:
        header: of the image, or of the frame with its functional groups.
        orientation: (6,) Image Orientation (Patient).

    Raises:
        HeaderValueError: an element that states it is malformed.
    """
    standard = _standard(header)
    if standard is not None and (
        not standard.weighted or standard.isotropic or standard.direction is not None
    ):
        return standard
    vendor = next(filter(None, (read(header, orientation) for read in READERS)), None)
    if standard is None or vendor is None:
        return standard or vendor
    return _completed(standard, vendor)


def _standard(header: Header) -> Weighting | None:
    """MR Diffusion macro (PS3.3 C.8.13.5.9), also found at the top of classic images."""
    b_value = header.number("DiffusionBValue")
    matrix = [header.number(keyword) for keyword in _B_MATRIX]
    b_matrix = [part for part in matrix if part is not None]
    complete = len(b_matrix) == len(_B_MATRIX)
    source = "Diffusion b-value (0018,9087)"
    directionality = header.text("DiffusionDirectionality").upper()
    if b_value is None and complete:
        b_value = b_matrix[0] + b_matrix[3] + b_matrix[5]
        source = "trace of b-matrix (0018,9601)"
    elif b_value is None and directionality == "NONE":
        b_value, source = 0.0, "Diffusion Directionality (0018,9075)"
    if b_value is None:
        return None
    direction = unit_vector(header.vector("DiffusionGradientOrientation", 3))
    sign_known = True
    if direction is None and complete and b_value >= UNWEIGHTED:
        direction, sign_known = principal_direction(b_matrix), False
    if directionality in ("ISOTROPIC", "NONE") or b_value < UNWEIGHTED:
        direction = None
    isotropic = directionality == "ISOTROPIC" and b_value >= UNWEIGHTED
    return Weighting(b_value, direction, isotropic, source, sign_known=sign_known)


def _completed(standard: Weighting, vendor: Weighting) -> Weighting:
    """The standard b-value of a weighted image, with the direction that its vendor states."""
    means_nominal = (
        vendor.nominal_b_value is not None
        and abs(standard.b_value - vendor.nominal_b_value) < _SAME_B_VALUE
    )
    return replace(
        vendor,
        b_value=vendor.b_value if means_nominal else standard.b_value,
        nominal_b_value=vendor.nominal_b_value if means_nominal else None,
        source=f"{standard.source}, direction: {vendor.source}",
    )
