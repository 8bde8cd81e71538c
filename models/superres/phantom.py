"""Phantom maps: labels to PD, T1 and T2 with partial volume, tissue variation and lesions."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from models.superres.anatomy import AIR, BRAIN, TISSUES, Labels, random_field
from models.superres.partial_volume import averaging_signals, maps_of_averages

Maps = npt.NDArray[np.float32]

TISSUE_VALUES: dict[str, tuple[float, float, float]] = {
    "air": (0.0, 1000.0, 100.0),
    "csf": (1.0, 4160.0, 1650.0),
    "grey matter": (0.8, 1560.0, 83.0),
    "white matter": (0.7, 830.0, 75.0),
    "fat": (0.9, 370.0, 70.0),
    "muscle": (0.75, 1410.0, 40.0),
    "skull": (0.1, 600.0, 30.0),
    "deep grey matter": (0.78, 1250.0, 70.0),
}
"""PD, T1 and T2 in ms at 3 T; brain: typical literature values (arXiv 2409.05318)."""

_SPREAD = (0.05, 0.12, 0.12)
"""SD of ln PD, ln T1 and ln T2 of a tissue from one subject to the next, in training."""


def tissue_maps(labels: Labels, values: npt.NDArray[np.floating], supersampling: int) -> Maps:
    """Maps of labels with partial volume; see ``with_partial_volume``.

    Args:
        labels: fine labels; each axis a multiple of ``supersampling``.
        values: (tissues, 3) PD, T1 in ms and T2 in ms of each label.
        supersampling: fine samples per voxel along each axis.

    Returns:
        (3, ...) PD, T1, T2, float32; zeros in air.
    """
    table = np.asarray(values, dtype=np.float32)
    return with_partial_volume(np.moveaxis(table[labels], -1, 0), labels, supersampling)


def with_partial_volume(fine: Maps, labels: Labels, supersampling: int) -> Maps:
    """Maps of voxels that hold several tissues, from fine maps; see ``partial_volume``.

    Args:
        fine: (3, ...) PD, T1 in ms, T2 in ms.
        labels: (...) of the fine maps; air has no signal.
        supersampling: fine samples per voxel along each axis.

    Returns:
        (3, ...) PD, T1, T2, float32; zeros in air.
    """
    signals = averaging_signals(fine) * (labels != AIR)
    return maps_of_averages(block_mean(signals, supersampling))


def block_mean(fine: npt.NDArray[np.float32], supersampling: int) -> Maps:
    """Mean over blocks of ``supersampling`` samples along every axis but the first."""
    shape: list[int] = [fine.shape[0]]
    for samples in fine.shape[1:]:
        shape += [samples // supersampling, supersampling]
    mean = fine.reshape(shape).mean(axis=tuple(range(2, len(shape), 2)), dtype=np.float32)
    return np.asarray(mean, dtype=np.float32)


def reference_values() -> npt.NDArray[np.float64]:
    """(tissues, 3) PD, T1 in ms and T2 in ms, in the order of ``TISSUES``."""
    return np.array([TISSUE_VALUES[name] for name in TISSUES])


def random_values(random: np.random.Generator) -> npt.NDArray[np.float64]:
    """(tissues, 3) values of a random subject, scanner and age around the reference values."""
    values = reference_values()
    values *= np.exp(random.standard_normal(values.shape) * np.array(_SPREAD))
    return np.clip(values, (0.0, 200.0, 15.0), (1.1, 4800.0, 2300.0))


def random_maps(labels: Labels, supersampling: int, random: np.random.Generator) -> Maps:
    """Maps of a random subject: tissue variation, texture, lesions and partial volume.

    Args:
        labels: fine labels, two axes.
        supersampling: fine samples per voxel along each axis.
        random: source of randomness.

    Returns:
        (3, rows, columns) PD, T1 in ms, T2 in ms.
    """
    table = random_values(random).astype(np.float32)
    fine = np.moveaxis(table[labels], -1, 0).copy()
    texture = np.stack(
        [random_field(labels.shape, random.uniform(2, 16), random) for _ in range(3)]
    ) * random.uniform(0, 0.04, (3, 1, 1))
    texture[1] += 2 * texture[0]
    fine *= np.exp(texture).astype(np.float32)
    for _ in range(int(random.integers(0, 5))):
        fine *= lesion(labels, random)
    return with_partial_volume(fine, labels, supersampling)


def lesion(labels: Labels, random: np.random.Generator) -> npt.NDArray[np.float32]:
    """Factors (3, ...) on PD, T1 and T2 of one random lesion inside the brain tissue.

    Most lesions lengthen T1 and T2 (oedema, demyelination); some shorten them (iron, fat).
    """
    factors = np.ones((3, *labels.shape), dtype=np.float32)
    inside = np.argwhere(np.isin(labels, BRAIN[1:]))
    if not len(inside):
        return factors
    where = inside[int(random.integers(len(inside)))]
    radii = random.uniform(0.01, 0.06, labels.ndim) * max(labels.shape)
    grids = np.ogrid[tuple(slice(0, n) for n in labels.shape)]
    distance = sum(((g - w) / r) ** 2 for g, w, r in zip(grids, where, radii, strict=True))
    profile = np.clip(1.5 - distance, 0, 1) * np.isin(labels, BRAIN[1:])
    sign = 1.0 if random.random() < 0.8 else -0.6
    strength = sign * np.array(
        [random.uniform(0, 0.12), random.uniform(0.1, 0.6), random.uniform(0.1, 0.9)]
    )
    return np.asarray(np.exp(strength.reshape(3, 1, 1) * profile), dtype=np.float32)
