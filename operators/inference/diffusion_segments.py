"""Regions of a diffusion result: tissues by their diffusion, and voxels not to be believed.

Tissues are told by thresholds, stated here and in ``docs/conformance.md``. Diffusivity is
compared with the median over the brain, because both fall together as b rises (at b 2500 s/mm²
fluid seems to diffuse half as fast as it does). Voxels between the thresholds are mixed, noisy or
ill, and are called none of the three.
"""

from __future__ import annotations

from dataclasses import replace

import highdicom as hd
import numpy as np
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from operators.inference.midsagittal_plane import MidsagittalPlane
from operators.vocabulary.quantity import PRIVATE_SCHEME
from operators.vocabulary.result import Segment, SegmentPair

#: MD relative to the median of the brain above which a voxel is fluid: fluid has some three times
#: the diffusivity of tissue, a lesion with 60 % more than tissue has 1.6 times.
FLUID_ABOVE = 2.0
#: The same below which it may be tissue.
TISSUE_BELOW = 1.5
#: Free water fraction above which a voxel is fluid, where NODDI was fitted.
FLUID_FRACTION = 0.5
#: FA above which tissue is called white matter, and below which grey matter. Medians of the two are
#: about .45 and .12; white matter where fibres cross falls between.
WHITE_ABOVE = 0.3
GREY_BELOW = 0.2

#: Voxels of a tissue that each side must have to be compared.
FEWEST_VOXELS_OF_A_SIDE = 20

_WHITE, _GREY = "White matter by FA", "Gray matter by FA"
PRIOR_DRIVEN = Code("PRIORDRIVEN", PRIVATE_SCHEME, "Voxels decided by the prior")
NOISE_FLOOR = Code("NOISEFLOOR", PRIVATE_SCHEME, "Voxels with signal at the noise floor")


def tissue_segments(
    anisotropy: np.ndarray,
    mean_diffusivity: np.ndarray,
    free_water: np.ndarray | None,
    inside: np.ndarray,
    geometry: hd.VolumeGeometry,
) -> tuple[Segment, ...]:
    """White matter, grey matter and fluid by FA, MD and, where it is known, free water.

    Args:
        anisotropy: (slices, rows, columns) FA.
        mean_diffusivity: (slices, rows, columns), any unit.
        free_water: (slices, rows, columns) free water fraction, or None.
        inside: boolean, same shape: analysed voxels of the brain with usable signal.
        geometry: grid of all.
    """
    if not inside.any():
        return ()
    relative = mean_diffusivity / np.median(mean_diffusivity[inside])
    fluid = inside & (relative > FLUID_ABOVE)
    if free_water is not None:
        fluid |= inside & (free_water > FLUID_FRACTION)
    tissue = inside & ~fluid & (relative < TISSUE_BELOW)
    anatomical = codes.SCT.AnatomicalStructure
    return tuple(
        Segment(name, category, kind, geometry.with_array(voxels.astype(np.uint8)))
        for name, category, kind, voxels in (
            (
                _WHITE,
                anatomical,
                codes.SCT.CerebralWhiteMatter,
                tissue & (anisotropy > WHITE_ABOVE),
            ),
            (
                _GREY,
                anatomical,
                codes.SCT.CerebralGrayMatter,
                tissue & (anisotropy < GREY_BELOW),
            ),
            ("Fluid by MD", codes.SCT.BodySubstance, codes.SCT.CerebrospinalFluid, fluid),
        )
    )


def white_and_grey(segments: tuple[Segment, ...]) -> tuple[Segment, ...]:
    """White and grey matter of the whole brain among some segments, in this order; or none."""
    return tuple(one for one in segments if one.name in (_WHITE, _GREY))


def halves(
    tissues: tuple[Segment, ...], plane: MidsagittalPlane, geometry: hd.VolumeGeometry
) -> tuple[tuple[Segment, ...], tuple[SegmentPair, ...]]:
    """Each tissue on the left and on the right of the patient, and the pairs to compare.

    Args:
        tissues: on one grid; of those with too few voxels on a side none is made.
        plane: between the halves of the brain.
        geometry: of the grid.
    """
    left = plane.left_of(geometry)
    segments: list[Segment] = []
    pairs = []
    for tissue in tissues:
        voxels = tissue.volume.array > 0
        sides = {"left": voxels & left, "right": voxels & ~left}
        if min(np.count_nonzero(side) for side in sides.values()) < FEWEST_VOXELS_OF_A_SIDE:
            continue
        segments += [
            replace(
                tissue,
                name=f"{tissue.name}, {side}",
                volume=geometry.with_array(mask.astype(np.uint8)),
            )
            for side, mask in sides.items()
        ]
        pairs.append(SegmentPair(f"{tissue.name}, left", f"{tissue.name}, right"))
    return tuple(segments), tuple(pairs)


def doubtful_segments(
    prior_driven: np.ndarray, noise_floor: np.ndarray, geometry: hd.VolumeGeometry
) -> tuple[Segment, ...]:
    """Voxels that the prior decides, and those without usable signal.

    Args:
        prior_driven: boolean (slices, rows, columns).
        noise_floor: boolean, same shape.
        geometry: grid of both.
    """
    return tuple(
        Segment(
            name,
            codes.SCT.SpatialAndRelationalConcept,
            kind,
            geometry.with_array(voxels.astype(np.uint8)),
        )
        for name, kind, voxels in (
            ("Decided by the prior", PRIOR_DRIVEN, prior_driven),
            ("Signal at noise floor", NOISE_FLOOR, noise_floor),
        )
    )
