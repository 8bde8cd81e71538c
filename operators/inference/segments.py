"""The regions over which every pipeline measures its maps."""

from __future__ import annotations

import highdicom as hd
import numpy as np
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from operators.inference.brain_mask import brain_mask
from operators.vocabulary.quantity import PRIVATE_SCHEME
from operators.vocabulary.result import PipelineResult, Segment

_HEADS = {"BRAIN", "HEAD", "HEADNECK", "SKULL"}
ANALYSED = Code("ANALYSED", PRIVATE_SCHEME, "Voxels with a result")
AT_BOUND = Code("ATBOUND", PRIVATE_SCHEME, "Voxels with a parameter at its bound")
#: T1 in ms at 3 T from which to which a voxel of the brain is called white or grey matter. The
#: windows hold the means of Wansapura et al., J. Magn. Reson. Imaging 9:531 (1999) (832 and
#: 1331 ms), and of Stanisz et al., Magn. Reson. Med. 54:507 (2005),
#: doi 10.1002/mrm.20605 (1084 and 1820 ms); between and beyond them, voxels are mixed, lesion or
#: fluid, and are called neither.
WHITE_MATTER_T1 = (700.0, 1100.0)
GREY_MATTER_T1 = (1200.0, 1900.0)
#: Field strengths, T, at which the windows hold.
WINDOWS_HOLD = (2.8, 3.2)


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
            ANALYSED,
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


def analysed_voxels(result: PipelineResult) -> np.ndarray:
    """Boolean (slices, rows, columns): the voxels of a result that were analysed.

    Raises:
        ValueError: the result does not say.
    """
    for segment in result.segments:
        if segment.type == ANALYSED:
            return np.asarray(segment.volume.array > 0)
    raise ValueError(f"a result of {result.pipeline} has no segment of analysed voxels")


def at_bound_region(at_bound: np.ndarray, geometry: hd.VolumeGeometry) -> Segment:
    """The voxels of which some parameter lies at an end of its range: not to be believed.

    Args:
        at_bound: boolean (slices, rows, columns).
        geometry: its grid.
    """
    return Segment(
        "At parameter bound",
        codes.SCT.SpatialAndRelationalConcept,
        AT_BOUND,
        geometry.with_array(at_bound.astype(np.uint8)),
    )


def tissue_regions(
    t1: np.ndarray, inside: np.ndarray, field_strength: float, geometry: hd.VolumeGeometry
) -> tuple[Segment, ...]:
    """White and grey matter by measured T1; none at field strengths other than 3 T.

    Args:
        t1: (slices, rows, columns) ms.
        inside: boolean, same shape: analysed voxels of the brain.
        field_strength: T.
        geometry: grid of both.
    """
    if not WINDOWS_HOLD[0] <= field_strength <= WINDOWS_HOLD[1]:
        return ()
    return tuple(
        Segment(
            name,
            codes.SCT.AnatomicalStructure,
            code,
            geometry.with_array((inside & (t1 >= low) & (t1 <= high)).astype(np.uint8)),
        )
        for name, code, (low, high) in (
            ("White matter by T1", codes.SCT.CerebralWhiteMatter, WHITE_MATTER_T1),
            ("Gray matter by T1", codes.SCT.CerebralGrayMatter, GREY_MATTER_T1),
        )
    )
