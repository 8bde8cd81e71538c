"""The regions over which every pipeline measures its maps."""

from __future__ import annotations

import highdicom as hd
import numpy as np
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from operators.inference.brain_mask import brain_mask
from operators.vocabulary.quantity import PRIVATE_SCHEME
from operators.vocabulary.result import Segment

_HEADS = {"BRAIN", "HEAD", "HEADNECK", "SKULL"}
_ANALYSED = Code("ANALYSED", PRIVATE_SCHEME, "Voxels with a result")


def shows_head(header: Dataset) -> bool:
    """Whether Body Part Examined (0018,0015) says that the head was imaged."""
    part = str(header.get("BodyPartExamined") or "")
    return part.replace(" ", "").upper() in _HEADS


def brain_of(image: np.ndarray, geometry: hd.VolumeGeometry, header: Dataset) -> np.ndarray | None:
    """The brain, or None where the series shows no head or no brain is found in it.

    Args:
        image: (slices, rows, columns) bright in the brain: b0 or M0.
        geometry: its grid.
        header: of the series.
    """
    if not shows_head(header):
        return None
    brain = brain_mask(image, geometry.spacing)
    return brain if brain.any() else None


def regions(
    brain: np.ndarray | None, analysed: np.ndarray, geometry: hd.VolumeGeometry
) -> tuple[Segment, ...]:
    """The analysed voxels, and before them the brain among them where there is one.

    Args:
        brain: boolean (slices, rows, columns), of :func:`brain_of`.
        analysed: boolean, same shape.
        geometry: grid of both.
    """
    found = [
        Segment(
            "Analysed voxels",
            codes.SCT.SpatialAndRelationalConcept,
            _ANALYSED,
            geometry.with_array(analysed.astype(np.uint8)),
        )
    ]
    if brain is not None:
        found.insert(
            0,
            Segment(
                "Brain",
                codes.SCT.AnatomicalStructure,
                codes.SCT.Brain,
                geometry.with_array((brain & analysed).astype(np.uint8)),
            ),
        )
    return tuple(found)
