"""White matter, grey matter and cerebrospinal fluid in each voxel, from PD, T1 and T2 maps.

The signals of the tissues in a voxel add up, each with its share of the voxel's protons
(``models.superres.partial_volume``); their maps do not: at three quarters of fluid T2 is still a
quarter of its own. T1 and T2 tell the shares of protons, as the point of the tissue simplex nearest
to the voxel's signals (least squares with shares of zero or more that add up to one; Shattuck et
al. 2001, doi 10.1006/nimg.2000.0730, for one image); the tissues' PD turns them into volumes. The
voxel's own PD is not asked: air beside the fluid of the rim lowers it. Tissue values are the
subject's own within the reference ranges. Lesions count as the tissue that they resemble.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import highdicom as hd
import numpy as np
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from scipy import ndimage

from models.superres.partial_volume import averaging_signals
from operators.inference.brain_mask import brain_mask
from operators.vocabulary.quantity import PRIVATE_SCHEME
from operators.vocabulary.result import Segment
from operators.vocabulary.tissue import (
    MILLILITRE,
    RegionValue,
    TissueFraction,
    TissueValue,
)

FIELD_STRENGTHS = (2.8, 3.2)
"""T, at which the tissue values hold."""
BRAIN_PARENCHYMAL_FRACTION = Code("BPF", PRIVATE_SCHEME, "Brain parenchymal fraction")
PARTIAL_VOLUME = Code("PVVOLUME", PRIVATE_SCHEME, "Volume, partial volumes added up")
_PERCENT = Code("%", "UCUM", "percent")


@dataclass(frozen=True)
class Tissue:
    """A tissue of the brain at 3 T.

    Attributes:
        name: for people.
        code: anatomical structure.
        typical: PD, T1 in ms, T2 in ms.
        ranges: quantity -> usual values; wide, since white matter T1 spans 600 to 1100 ms in the
            literature (arXiv 2409.05318).
    """

    name: str
    code: Code
    typical: tuple[float, float, float]
    ranges: dict[str, tuple[float, float]]


TISSUES = (
    Tissue(
        "White matter",
        codes.SCT.CerebralWhiteMatter,
        (0.70, 830.0, 75.0),
        {"proton_density": (0.65, 0.75), "t1": (600, 1100), "t2": (60, 90)},
    ),
    Tissue(
        "Gray matter",
        codes.SCT.CerebralGrayMatter,
        (0.80, 1560.0, 83.0),
        {"proton_density": (0.75, 0.88), "t1": (1100, 1850), "t2": (80, 115)},
    ),
    Tissue(
        "Cerebrospinal fluid",
        codes.SCT.CerebrospinalFluid,
        (1.00, 4160.0, 1650.0),
        {"proton_density": (0.9, 1.1), "t1": (3000, 5000), "t2": (500, 2500)},
    ),
)
_PURE = 0.9
_FEWEST_VOXELS = 100
_ROUNDS = 10
#: Difference of ln T1 and of ln T2 up to which a voxel may be of a tissue.
_NEAR = 0.2
_NO_FAT_T1 = 450.0
_ECHO_TIME, _LONGEST_T2 = 60.0, 120.0
_QUANTITIES = ("proton_density", "t1", "t2")


def brain_from_maps(maps: np.ndarray, geometry: hd.VolumeGeometry) -> np.ndarray:
    """The brain with its fluid: boolean (slices, rows, columns).

    In an image in which fat, muscle and skull are dark and fluid is no brighter than tissue.

    Args:
        maps: (3, slices, rows, columns) PD, T1 in ms, T2 in ms.
        geometry: grid of the maps.
    """
    density, t1, t2 = maps
    bright = np.exp(-_ECHO_TIME / np.clip(t2, 1, _LONGEST_T2)) * np.clip(density, 0, 1)
    # Single voxels of short T1 are noise, fat lies in sheets.
    image = ndimage.grey_closing(np.where(t1 > _NO_FAT_T1, bright, 0), size=(1, 3, 3))
    return brain_mask(image, geometry.spacing) & (density > 0)


def tissue_fractions(maps: np.ndarray, brain: np.ndarray) -> np.ndarray:
    """Share of each voxel that white matter, grey matter and fluid fill.

    Args:
        maps: (3, slices, rows, columns) PD, T1 in ms, T2 in ms.
        brain: boolean (slices, rows, columns).

    Returns:
        (3, slices, rows, columns), float32; they add up to one in the brain and are zero outside.
    """
    voxels = maps[:, brain].astype(np.float32)
    fractions = _nearest_mixture(voxels, _subject_values(voxels))
    result = np.zeros((len(TISSUES), *brain.shape), np.float32)
    result[:, brain] = fractions
    return result


def _subject_values(voxels: np.ndarray) -> np.ndarray:
    """Tissue values (3, tissues) of the subject, within the usual ranges.

    From typical values the median of the voxels near by moves to where the tissue's own voxels
    crowd (mean shift; Comaniciu and Meer 2002, doi 10.1109/34.1000236); mixed ones are spread out.
    """
    centres = np.array([tissue.typical for tissue in TISSUES]).T
    for number, tissue in enumerate(TISSUES):
        limits = np.array([tissue.ranges[name] for name in _QUANTITIES]).T
        for _ in range(_ROUNDS):
            distance = np.abs(np.log(voxels[1:] / centres[1:, number, None]))
            near = (distance < _NEAR).all(axis=0)
            if np.count_nonzero(near) < _FEWEST_VOXELS:
                break
            centres[:, number] = np.clip(np.median(voxels[:, near], axis=1), *limits)
    return centres


def _nearest_mixture(voxels: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Fractions (tissues, voxels) of the nearest point of the simplex that tissues span."""
    # Signals of one unit of protons: as certain in fluid as in tissue, which T1 and T2 are not.
    points, corners = (
        averaging_signals(np.stack([np.ones_like(maps[0]), *maps[1:]]))[1:]
        for maps in (voxels, centres)
    )
    tissues = corners.shape[1]
    best = np.zeros((tissues, points.shape[1]), np.float32)
    least = np.full(points.shape[1], np.inf)
    for size in range(1, tissues + 1):
        for chosen in combinations(range(tissues), size):
            first, others = corners[:, chosen[:1]], corners[:, list(chosen[1:])]
            if others.shape[1]:
                others = others - first
                shares = np.linalg.pinv(others) @ (points - first)
                mixture = np.concatenate([1 - shares.sum(0, keepdims=True), shares])
                distance = ((first + others @ shares - points) ** 2).sum(0)
            else:
                mixture = np.ones((1, points.shape[1]))
                distance = ((first - points) ** 2).sum(0)
            nearer = (mixture >= 0).all(0) & (distance < least)
            best[:, nearer] = 0
            best[np.ix_(list(chosen), nearer)] = mixture[:, nearer]
            least[nearer] = distance[nearer]
    volumes = best / centres[0][:, None]
    return volumes / volumes.sum(0)


@dataclass(frozen=True)
class BrainTissues:
    """What the tissues of a brain add up to.

    Attributes:
        fractions: partial volumes.
        segments: voxels of which a tissue fills more than half.
        values: volumes in ml and the brain parenchymal fraction.
        medians: of each tissue and map.
    """

    fractions: tuple[TissueFraction, ...]
    segments: tuple[Segment, ...]
    values: tuple[RegionValue, ...]
    medians: tuple[TissueValue, ...]


def brain_tissues(maps: np.ndarray, brain: np.ndarray, geometry: hd.VolumeGeometry) -> BrainTissues:
    """Tissues of the brain, their volumes, and the brain parenchymal fraction.

    Args:
        maps: (3, slices, rows, columns) PD, T1 in ms, T2 in ms.
        brain: boolean (slices, rows, columns).
        geometry: their grid.
    """
    shares = tissue_fractions(maps, brain)
    structure = codes.SCT.AnatomicalStructure
    fractions = tuple(
        TissueFraction(tissue.name, structure, tissue.code, geometry.with_array(share))
        for tissue, share in zip(TISSUES, shares, strict=True)
    )
    segments = tuple(
        Segment(one.name, structure, one.type, geometry.with_array((share > 0.5).astype(np.uint8)))
        for one, share in zip(fractions, shares, strict=True)
    )
    values = [
        RegionValue(one.name, PARTIAL_VOLUME, one.millilitres, MILLILITRE) for one in fractions
    ]
    white, grey, fluid = (one.millilitres for one in fractions)
    whole = white + grey + fluid
    values.append(RegionValue("Brain", PARTIAL_VOLUME, whole, MILLILITRE))
    values.append(
        RegionValue("Brain", BRAIN_PARENCHYMAL_FRACTION, 100 * (white + grey) / whole, _PERCENT)
    )
    return BrainTissues(fractions, segments, tuple(values), _medians(maps, shares))


def _medians(maps: np.ndarray, shares: np.ndarray) -> tuple[TissueValue, ...]:
    found = []
    for tissue, share in zip(TISSUES, shares, strict=True):
        pure = share > _PURE
        if np.count_nonzero(pure) < _FEWEST_VOXELS:
            continue
        for values, name in zip(maps, _QUANTITIES, strict=True):
            low, high = tissue.ranges[name]
            found.append(TissueValue(tissue.name, name, float(np.median(values[pure])), low, high))
    return tuple(found)
