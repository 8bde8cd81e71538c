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


def regions(
    image: np.ndarray, analysed: np.ndarray, geometry: hd.VolumeGeometry, header: Dataset
) -> tuple[Segment, ...]:
    """The analysed voxels, and the brain among them where the series shows a head.

    Args:
        image: (slices, rows, columns) bright in the brain: b0 or M0.
        analysed: boolean, same shape.
        geometry: grid of both.
        header: of the series.
    """
    found = [
        Segment(
            "Analysed voxels",
            codes.SCT.SpatialAndRelationalConcept,
            _ANALYSED,
            geometry.with_array(analysed.astype(np.uint8)),
        )
    ]
    if shows_head(header):
        brain = brain_mask(image, geometry.spacing) & analysed
        found.insert(
            0,
            Segment(
                "Brain",
                codes.SCT.AnatomicalStructure,
                codes.SCT.Brain,
                geometry.with_array(brain.astype(np.uint8)),
            ),
        )
    return tuple(found)
