"""A brain made of formulas: what each voxel is made of, and the values that this gives it.

It looks like a brain and holds plausible values at 3 T; it is nobody's anatomy. Geometry is
in ``brain_shapes``, the direction of fibres in ``brain_tracts``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from app.demo import brain_shapes as shapes
from app.demo.brain_shapes import Points
from app.demo.brain_tracts import fibre_dyadics

SHAPE = (24, 96, 96)
SPACING = (5.0, 2.2, 2.2)
"""Slices, rows, columns; mm."""

_CENTRE = (0.0, 5.0, 8.0)
_FINER = (3, 2, 2)
"""Points per voxel in each direction, from which partial volumes are counted."""
_VARIATION = 0.03
"""Standard deviation of smooth variation within a tissue, relative."""
_ANISOTROPY = {"white matter": 2.1, "pallidum": 0.5, "lesion": 0.8}
"""Share of the diffusivity that follows the fibres, by tissue; others are isotropic."""


@dataclass(frozen=True)
class Tissue:
    """Values of one tissue at 3 T.

    Attributes:
        proton_density: relative to water.
        t1: ms.
        t2: ms.
        mt_fraction: semisolid proton fraction, %.
        mt_exchange_rate: /s.
        solute_fraction: amide proton fraction, %.
        solute_exchange_rate: /s.
        diffusivity: mean diffusivity, mm²/s.
    """

    proton_density: float
    t1: float
    t2: float
    mt_fraction: float
    mt_exchange_rate: float
    solute_fraction: float
    solute_exchange_rate: float
    diffusivity: float


TISSUES = {
    "white matter": Tissue(0.70, 850, 70, 13.5, 29, 0.25, 240, 0.75e-3),
    "cortex": Tissue(0.82, 1400, 95, 6.2, 42, 0.30, 300, 0.85e-3),
    "deep grey matter": Tissue(0.80, 1180, 78, 8.0, 38, 0.28, 280, 0.78e-3),
    "pallidum": Tissue(0.76, 980, 58, 10.0, 34, 0.26, 260, 0.76e-3),
    "cerebrospinal fluid": Tissue(1.00, 4000, 1500, 0.0, 30, 0.0, 200, 3.00e-3),
    "lesion": Tissue(0.88, 1550, 150, 4.5, 48, 0.45, 340, 1.30e-3),
    "bone": Tissue(0.06, 900, 30, 2.0, 30, 0.0, 200, 0.60e-3),
    "scalp": Tissue(0.35, 700, 45, 5.0, 30, 0.05, 200, 0.40e-3),
}
"""Within literature ranges at 3 T: T1 and T2 Stanisz 2005 (doi 10.1002/mrm.20605), exchange
Finkelstein 2025 (doi 10.1038/s42005-025-02063-8) and those it compares with, diffusivity
PMC7975251."""


# Attributes of Tissue that vary together within a tissue.
_VARIES_WITH = {
    "t1": "relaxation",
    "t2": "relaxation",
    "mt_fraction": "exchange",
    "solute_fraction": "exchange",
    "diffusivity": "relaxation",
}


@dataclass(frozen=True)
class BrainPhantom:
    """What the phantom is made of, on the grid of the images.

    Attributes:
        affine: (4, 4), (slice, row, column) index to LPS mm.
        shares: (slices, rows, columns) share of each tissue in each voxel, by name; they sum
            to 1 inside the head.
        variation: (slices, rows, columns) factor by which values of a tissue differ from
            place to place, in a few steps, for "relaxation" and "exchange".
        fibres: (slices, rows, columns, 6) mean dyadic of the fibre directions xx, yy, zz, xy,
            xz, yz, patient frame; the trace is at most 1.
    """

    affine: np.ndarray
    shares: dict[str, np.ndarray]
    variation: dict[str, np.ndarray]
    fibres: np.ndarray

    @property
    def brain(self) -> np.ndarray:
        """(slices, rows, columns) boolean: at least half brain tissue or fluid."""
        outside = self.shares["bone"] + self.shares["scalp"]
        return np.sum(list(self.shares.values()), axis=0) - outside >= 0.5

    def proton_density(self, tissue: str) -> np.ndarray:
        """(slices, rows, columns) proton density that ``tissue`` adds to each voxel."""
        return self.shares[tissue] * np.float32(TISSUES[tissue].proton_density)

    def values(self, tissue: str, attribute: str) -> np.ndarray:
        """(slices, rows, columns) values that ``tissue`` has, or would have, in each voxel."""
        value = np.float32(getattr(TISSUES[tissue], attribute))
        group = _VARIES_WITH.get(attribute)
        return np.full(SHAPE, value) if group is None else value * self.variation[group]

    def map(self, attribute: str) -> np.ndarray:
        """(slices, rows, columns) mean over the protons of each voxel; zero in air."""
        density = {name: self.proton_density(name) for name in TISSUES}
        total = np.sum(list(density.values()), axis=0)
        mixed = sum(density[name] * self.values(name, attribute) for name in TISSUES)
        return np.where(total > 0, mixed / np.maximum(total, 1e-6), 0).astype(np.float32)

    def tensor(self, tissue: str) -> np.ndarray:
        """(slices, rows, columns, 6) diffusion tensor of ``tissue``, mm²/s, patient frame.

        With the dyadic F of the fibres and mean diffusivity m it is m (1 - a trace F / 3) I +
        m a F, of which the mean diffusivity is m for every anisotropy a.
        """
        dyadics = self.fibres * np.float32(_ANISOTROPY.get(tissue, 0.0))
        mean = self.values(tissue, "diffusivity")[..., None]
        trace = dyadics[..., :3].sum(axis=-1, keepdims=True)
        tensor = mean * dyadics
        tensor[..., :3] += mean * (1 - trace / 3)
        return tensor


def brain_phantom(seed: int = 7) -> BrainPhantom:
    """The phantom; the same for the same ``seed``, which decides the folds."""
    affine = _affine()
    points = _fine_points(affine)
    random = np.random.default_rng(seed)
    labels = _labels(points, random)
    shares = {name: _average(labels == number) for number, name in enumerate(TISSUES, start=1)}
    variation = {name: _variation(random) for name in ("relaxation", "exchange")}
    return BrainPhantom(affine, shares, variation, _average(fibre_dyadics(points)))


def _affine() -> np.ndarray:
    """Axial slices from foot to head, (slice, row, column) index to LPS mm."""
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2], affine[3, 3] = *SPACING, 1.0
    affine[:3, 3] = _CENTRE - affine[:3, :3] @ ((np.array(SHAPE) - 1) / 2)
    return affine


def _fine_points(affine: np.ndarray) -> Points:
    z, y, x = (
        ((np.arange(number * finer) + 0.5) / finer - 0.5) * affine[2 - axis, axis]
        + affine[2 - axis, 3]
        for axis, (number, finer) in enumerate(zip(SHAPE, _FINER, strict=True))
    )
    return (
        x[None, None, :].astype(np.float32),
        y[None, :, None].astype(np.float32),
        z[:, None, None].astype(np.float32),
    )


def _average(values: np.ndarray) -> np.ndarray:
    """Mean over the points of each voxel: (slices, rows, columns, …) float32."""
    split = [size for pair in zip(SHAPE, _FINER, strict=True) for size in pair]
    return values.reshape(*split, *values.shape[3:]).mean(axis=(1, 3, 5), dtype=np.float32)


def _labels(points: Points, random: np.random.Generator) -> np.ndarray:
    """(fine slices, rows, columns) number of the tissue, from 1; 0 in air."""
    spacing = [step / finer for step, finer in zip(SPACING, _FINER, strict=True)]
    hull = shapes.cerebrum(points)
    cerebrum = hull < 1
    depth = ndimage.distance_transform_edt(cerebrum, sampling=spacing).astype(np.float32)
    folds = shapes.folding_surfaces(hull.shape, spacing, random)
    tissue = cerebrum & ~shapes.gaps(points, folds, depth)
    below_surface = ndimage.distance_transform_edt(tissue, sampling=spacing)
    stem = shapes.brainstem(points) < 0
    cerebellum = (shapes.cerebellum(points) < 1) & (hull > 1.04)
    inner = np.minimum.reduce([hull, shapes.cerebellum(points), 1 + shapes.brainstem(points) / 60])
    numbers = {name: number for number, name in enumerate(TISSUES, start=1)}

    labels = np.zeros(hull.shape, dtype=np.uint8)
    outline = ndimage.distance_transform_edt(inner >= 1, sampling=spacing)
    head_below = np.broadcast_to(points[2] < -30, hull.shape)
    skin = np.where(head_below, 16.0, 13.0)
    labels[outline < skin] = numbers["scalp"]
    labels[outline < 8.5] = numbers["bone"]
    labels[outline < 3.0] = numbers["cerebrospinal fluid"]
    labels[cerebrum] = numbers["cerebrospinal fluid"]
    labels[cerebellum] = numbers["white matter"]
    labels[cerebellum & shapes.folia(points)] = numbers["cortex"]
    labels[tissue] = numbers["white matter"]
    labels[tissue & (below_surface < shapes.CORTEX_THICKNESS)] = numbers["cortex"]
    labels[stem] = numbers["white matter"]
    core = tissue & (depth > 14)
    labels[core & (shapes.deep_nuclei(points) < 1)] = numbers["deep grey matter"]
    labels[core & (shapes.pallidum(points) < 1)] = numbers["pallidum"]
    white = labels == numbers["white matter"]
    labels[white & (shapes.lesion(points) < 1)] = numbers["lesion"]
    labels[shapes.ventricles(points) < 0] = numbers["cerebrospinal fluid"]
    return labels


def _variation(random: np.random.Generator) -> np.ndarray:
    """(slices, rows, columns) smooth factor around 1, in steps of two per cent.

    Steps, so that few different voxels have to be simulated.
    """
    wave = ndimage.gaussian_filter(random.standard_normal(SHAPE), (2, 5, 5))
    steps = np.clip(np.rint(wave / wave.std() * _VARIATION / 0.02), -3, 3)
    return (1 + 0.02 * steps).astype(np.float32)
