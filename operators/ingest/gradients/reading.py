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
    if b_value is None:
        if not complete:
            return None
        b_value = b_matrix[0] + b_matrix[3] + b_matrix[5]
        source = "trace of b-matrix (0018,9601)"
    directionality = header.text("DiffusionDirectionality").upper()
    direction = unit_vector(header.vector("DiffusionGradientOrientation", 3))
    sign_known = True
    if direction is None and complete and b_value >= UNWEIGHTED:
        direction, sign_known = principal_direction(b_matrix), False
    if directionality in ("ISOTROPIC", "NONE"):
        direction = None
    isotropic = directionality == "ISOTROPIC" and b_value >= UNWEIGHTED
    return Weighting(b_value, direction, isotropic, source, sign_known=sign_known)


def _completed(standard: Weighting, vendor: Weighting) -> Weighting:
    """The standard attributes, with what they leave open from the vendor's."""
    completed = standard
    if standard.weighted and standard.direction is None and not standard.isotropic:
        completed = replace(
            completed,
            direction=vendor.direction,
            isotropic=vendor.isotropic,
            sign_known=vendor.sign_known,
            source=f"{standard.source}, direction: {vendor.source}",
        )
    elif vendor.isotropic and standard.weighted:
        completed = replace(completed, isotropic=True)
    if vendor.nominal_b_value is not None and abs(standard.b_value - vendor.nominal_b_value) < 1:
        completed = replace(
            completed, b_value=vendor.b_value, nominal_b_value=vendor.nominal_b_value
        )
    return completed
