"""Where each vendor writes b-values and gradient directions, besides the standard attributes.

Every rule names what it was checked against: dcm2niix's reference tables for real series, or a
published source. Each function answers None where its vendor's elements are absent.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np

from operators.ingest.csa import read_csa
from operators.ingest.elements import (
    GE_B_VALUE,
    GE_DIRECTION_X,
    GE_DIRECTION_Y,
    GE_DIRECTION_Z,
    PHILIPS_B_VALUE,
    PHILIPS_DIRECTION_AP,
    PHILIPS_DIRECTION_FH,
    PHILIPS_DIRECTION_KIND,
    PHILIPS_DIRECTION_RL,
    SIEMENS_B_MATRIX,
    SIEMENS_B_VALUE,
    SIEMENS_CSA_IMAGE_HEADER,
    SIEMENS_DIRECTION,
    UIH_B_VALUE,
    UIH_DIRECTION,
)
from operators.ingest.gradients.weighting import (
    UNWEIGHTED,
    Weighting,
    image_to_patient,
    principal_direction,
    unit_vector,
)
from operators.ingest.header import Header, HeaderValueError

Reader = Callable[[Header, Sequence[float]], Weighting | None]
"""Reads the weighting of an image from its header and its Image Orientation (Patient)."""


def siemens(header: Header, orientation: Sequence[float]) -> Weighting | None:
    """Siemens V and XA, classic: (0019,100C), (0019,100E) and b-matrix (0019,1027), LPS."""
    b_value = header.number(SIEMENS_B_VALUE)
    if b_value is None:
        return _siemens_csa(header)
    direction = unit_vector(header.vector(SIEMENS_DIRECTION, 3))
    b_matrix = header.vector(SIEMENS_B_MATRIX, 6)
    from_matrix = direction is None and b_matrix is not None and b_value >= UNWEIGHTED
    if from_matrix and b_matrix is not None:
        direction = principal_direction(b_matrix)
    return Weighting(
        b_value,
        direction,
        isotropic=False,
        source="Siemens (0019,xx0C)",
        sign_known=not from_matrix,
    )


def _siemens_csa(header: Header) -> Weighting | None:
    """Siemens before 2006: B_value and DiffusionGradientDirection of the CSA image header."""
    data = header.raw(SIEMENS_CSA_IMAGE_HEADER)
    csa = read_csa(data) if data else {}
    try:
        b_value = float(csa["B_value"][0])
        direction = [float(text) for text in csa.get("DiffusionGradientDirection", ())]
    except (KeyError, IndexError, ValueError):
        return None
    vector = unit_vector(direction) if len(direction) == 3 else None
    return Weighting(b_value, vector, isotropic=False, source="Siemens CSA image header")


def philips(header: Header, orientation: Sequence[float]) -> Weighting | None:
    """Philips: (2001,1003) and (2005,10B0…10B2), LPS (checked: Achieva, dcm2niix).

    (2001,1004) is "I" for b0 and for the trace volume that the scanner appends.
    """
    b_value = header.number(PHILIPS_B_VALUE)
    if b_value is None or b_value < 0:
        return None
    parts = [
        header.number(name)
        for name in (PHILIPS_DIRECTION_RL, PHILIPS_DIRECTION_AP, PHILIPS_DIRECTION_FH)
    ]
    direction = (
        unit_vector([part for part in parts if part is not None])
        if all(part is not None for part in parts)
        else None
    )
    isotropic = b_value >= UNWEIGHTED and (
        header.text(PHILIPS_DIRECTION_KIND).upper() == "I" or direction is None
    )
    return Weighting(b_value, direction, isotropic, source="Philips (2001,xx03)")


_GE_BIAS = 1_000_000_000
_NO_GE_DIRECTION, _FULL_GE_DIRECTION = 0.03, 0.97


def ge(header: Header, orientation: Sequence[float]) -> Weighting | None:
    """GE: (0043,1039)[0] and (0019,10BB…10BD) in the frame of frequency, phase and slice.

    For phase encoding along columns the FSL vector is (-x, y, z) (checked: SIGNA Pioneer,
    dcm2niix), so x runs along minus the row cosine, y along minus the column cosine and z
    along row × column; along rows the first two are exchanged, which keeps the frame
    right-handed (dcm2niix, geCorrectBvecs). Some releases add 10⁹ to b (dcm2niix issues 602,
    603). Outside echo-planar sequences the element means other things, unless the standard
    b-value stands beside it. A direction shorter than 1 belongs to a multi-shell table of older
    releases, in which b is nominal and the true b is b·|g|² (dcm2niix issue 163).
    """
    stated = header.number(GE_B_VALUE)
    echo_planar = "EP" in header.tokens("ScanningSequence")
    if stated is None or not (echo_planar or header.number("DiffusionBValue") is not None):
        return None
    nominal = float(int(stated) % _GE_BIAS)
    x, y, z = (header.number(name) for name in (GE_DIRECTION_X, GE_DIRECTION_Y, GE_DIRECTION_Z))
    direction, length = None, 0.0
    phase_encoding = header.text("InPlanePhaseEncodingDirection").upper()
    if x is not None and y is not None and z is not None:
        length = float(np.linalg.norm((x, y, z)))
        if phase_encoding.startswith("ROW"):
            direction = unit_vector(image_to_patient((-y, x, z), orientation))
        elif phase_encoding.startswith("COL"):
            direction = unit_vector(image_to_patient((-x, -y, z), orientation))
        elif length > _NO_GE_DIRECTION:
            raise HeaderValueError(
                "GE gradient directions mean nothing without InPlanePhaseEncodingDirection"
            )
    weighted = nominal >= UNWEIGHTED
    shortened = weighted and _NO_GE_DIRECTION < length < _FULL_GE_DIRECTION
    return Weighting(
        nominal * length**2 if shortened else nominal,
        direction,
        isotropic=weighted and length <= _NO_GE_DIRECTION,
        source="GE (0043,xx39)",
        nominal_b_value=nominal if shortened else None,
    )


def uih(header: Header, orientation: Sequence[float]) -> Weighting | None:
    """UIH: actual b (0065,1009), direction (0065,1037) in the frame of the image.

    The FSL vector is (x, -y, z) (checked: uMR 770, two series, dcm2niix).
    """
    b_value = header.number(UIH_B_VALUE)
    if b_value is None:
        return None
    stated = header.vector(UIH_DIRECTION, 3)
    direction = None if stated is None else unit_vector(image_to_patient(stated, orientation))
    isotropic = b_value >= UNWEIGHTED and direction is None
    return Weighting(b_value, direction, isotropic, source="UIH (0065,xx09)")


_NUMBER = r"\s*([-+.\deE]+)\s*"
_CANON_COMMENT = re.compile(rf"b\s*={_NUMBER}(?:\({_NUMBER},{_NUMBER},{_NUMBER}\))?")


def canon(header: Header, orientation: Sequence[float]) -> Weighting | None:
    """Canon from V6 on: "b=1500(0.445,0.000,0.895)" in Image Comments, frame of the image."""
    maker = header.text("Manufacturer").upper()
    if not ("CANON" in maker or "TOSHIBA" in maker):
        return None
    found = _CANON_COMMENT.search(header.text("ImageComments"))
    if found is None:
        return None
    try:
        b_value, *stated = (float(text) for text in found.groups() if text is not None)
    except ValueError:
        return None
    direction = unit_vector(image_to_patient(stated, orientation)) if stated else None
    isotropic = b_value >= UNWEIGHTED and direction is None
    return Weighting(b_value, direction, isotropic, source="Canon Image Comments (0020,4000)")


READERS: tuple[Reader, ...] = (siemens, philips, ge, uih, canon)
