"""Synthetic microstructure on real brain anatomy: the maps that the priors learn from.

Tissue fractions come from the ICBM 152 template (carried by the nilearn package) and from a
labelled brain; everything else is random: where tracts lie and cross, how dense and dispersed
neurites are, how bright tissue is. Tracts are regions with sharp borders, within which
directions turn smoothly. Nothing here claims to be anatomy: the prior is to learn that maps are
piecewise smooth, with the joint statistics of diffusion in brain tissue.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import scipy.io
import torch
from scipy import ndimage
from scipy.spatial.transform import Rotation

from models.diffusion.noddi import noddi_signal

#: Slices, rows and columns of one slab.
SLAB = (3, 96, 96)
_REGIONS = 5


@dataclass(frozen=True)
class Anatomy:
    """Tissue fractions of one head on a 1 mm grid, (x, y, z), values 0 to 1."""

    grey: np.ndarray
    white: np.ndarray
    brain: np.ndarray


@dataclass(frozen=True)
class Microstructure:
    """What a slab is made of; every array (slices, rows, columns), directions (..., 3).

    Attributes:
        brain: where there is brain.
        white: fraction of white matter.
        grey: fraction of grey matter; the rest of the brain is free water.
        s0: signal at b = 0 relative to its median over the brain, by tissue: (..., 3) of white,
            grey and free water.
        ndi: (..., 3) neurite density of the first and second tract, and of grey matter.
        odi: (..., 3) their orientation dispersion.
        fwf: free water fraction within tissue.
        orientation: (..., 3, 3) mean orientation of the first, second tract and grey matter.
        crossing: share of the second tract in white matter.
        parallel_diffusivity: of the slab, mm²/s.
    """

    brain: np.ndarray
    white: np.ndarray
    grey: np.ndarray
    s0: np.ndarray
    ndi: np.ndarray
    odi: np.ndarray
    fwf: np.ndarray
    orientation: np.ndarray
    crossing: np.ndarray
    parallel_diffusivity: float


def load_anatomies(data: Path) -> list[Anatomy]:
    """The template of nilearn and the labelled brain under ``data``.

    Args:
        data: folder with ``phantom_brain_labels``.
    """
    found = importlib.util.find_spec("nilearn")
    if found is None or not found.submodule_search_locations:
        raise FileNotFoundError("training needs the tissue maps of the package nilearn")
    folder = Path(found.submodule_search_locations[0]) / "datasets" / "data"

    def template(name: str) -> np.ndarray:
        path = folder / f"mni_icbm152_{name}_tal_nlin_sym_09a_converted.nii.gz"
        return np.asarray(nibabel.nifti1.load(path).dataobj, dtype=np.float32) / 255

    t1 = template("t1")
    head = ndimage.binary_dilation(ndimage.binary_fill_holes(t1 > 0), iterations=1)
    first = Anatomy(template("gm"), template("wm"), head.astype(np.float32))
    labels = scipy.io.loadmat(
        data / "phantom_brain_labels" / "Resources" / "BrainModel.mat", variable_names=["Anatomy"]
    )["Anatomy"]
    second = Anatomy(
        np.isin(labels, (2, 8)).astype(np.float32),
        (labels == 3).astype(np.float32),
        np.isin(labels, (1, 2, 3, 8)).astype(np.float32),
    )
    return [first, second]


def smooth_field(
    generator: np.random.Generator, length: float, voxel: np.ndarray, shape: tuple[int, ...] = SLAB
) -> np.ndarray:
    """Gaussian random field of unit variance; correlation length and voxel size in mm."""
    noise = generator.standard_normal(shape).astype(np.float32)
    # Slabs are thin, so along slices the field is blended instead of filtered.
    field = ndimage.gaussian_filter(noise, (0, length / voxel[1], length / voxel[2]), mode="wrap")
    turn = min(1.0, voxel[0] / length)
    slices = [field[0]]
    for fresh in field[1:]:
        slices.append(np.sqrt(1 - turn**2) * slices[-1] + turn * fresh)
    field = np.stack(slices)
    return (field - field.mean()) / (field.std() + 1e-6)


def random_microstructure(
    anatomies: list[Anatomy], generator: np.random.Generator
) -> Microstructure:
    """One random slab."""
    voxel = np.exp(generator.uniform(np.log(1.4), np.log(3.6))) * np.array(
        [generator.uniform(0.8, 2.0), 1.0, 1.0]
    )
    grey, white, brain = _tissue(anatomies[generator.integers(len(anatomies))], voxel, generator)

    def field(low: float, high: float) -> np.ndarray:
        return smooth_field(generator, generator.uniform(low, high), voxel)

    tracts = [np.argmax([field(4, 16) for _ in range(_REGIONS)], axis=0) for _ in range(2)]
    grey_regions = np.argmax([field(8, 25) for _ in range(_REGIONS)], axis=0)
    regions = (*tracts, grey_regions)

    def by_region(index: int, scale: float) -> np.ndarray:
        return scale * generator.standard_normal(_REGIONS).astype(np.float32)[regions[index]]

    orientation = np.stack([_directions(regions[i], field, generator) for i in range(3)], axis=-2)
    white_density = generator.uniform(0.5, 0.72)
    ndi = np.stack(
        (
            white_density + by_region(0, 0.06) + 0.04 * field(5, 20),
            white_density + by_region(1, 0.06) + 0.04 * field(5, 20),
            generator.uniform(0.3, 0.5) + by_region(2, 0.04) + 0.04 * field(5, 20),
        ),
        axis=-1,
    ).clip(0.05, 0.95)
    white_dispersion = np.log(generator.uniform(0.06, 0.16))
    odi = np.stack(
        (
            np.exp(white_dispersion + by_region(0, 0.4) + 0.25 * field(4, 15)),
            np.exp(white_dispersion + by_region(1, 0.4) + 0.25 * field(4, 15)),
            generator.uniform(0.4, 0.7) + by_region(2, 0.06) + 0.05 * field(4, 15),
        ),
        axis=-1,
    ).clip(0.015, 0.95)
    crossing = (0.25 * field(6, 20) + by_region(1, 0.15)).clip(0, 0.5)
    water = (0.03 * field(6, 20) + by_region(0, 0.02)).clip(0, 0.3)
    levels = np.array(
        [1.0, generator.uniform(1.0, 1.5), np.exp(generator.uniform(np.log(1.2), np.log(4.0)))],
        dtype=np.float32,
    )
    bias = np.exp(generator.uniform(0, 0.3) * field(30, 60))
    texture = np.exp(by_region(0, 0.06) + by_region(2, 0.05) + 0.04 * field(3, 10))
    s0 = levels * (bias * texture)[..., None]
    s0 = np.concatenate((s0[..., :2], (levels[2] * bias)[..., None]), axis=-1)
    return Microstructure(
        brain=brain,
        white=white,
        grey=grey,
        s0=s0,
        ndi=ndi,
        odi=odi,
        fwf=water,
        orientation=orientation,
        crossing=crossing,
        parallel_diffusivity=1e-3 * generator.uniform(1.55, 1.95),
    )


def microstructure_signal(
    slab: Microstructure, b_values: np.ndarray, directions: np.ndarray
) -> np.ndarray:
    """Noise-free signals of a slab.

    Args:
        slab: what it is made of.
        b_values: (volumes,) s/mm².
        directions: (volumes, 3) unit vectors in the frame of the array.

    Returns:
        float32 (slices, rows, columns, volumes); zero outside the brain.
    """
    b = torch.as_tensor(b_values, dtype=torch.float32)
    g = torch.as_tensor(directions, dtype=torch.float32)
    inside = slab.brain

    def values(array: np.ndarray) -> torch.Tensor:
        return torch.as_tensor(array[inside], dtype=torch.float32)

    fwf = values(slab.fwf)
    zero = torch.zeros_like(fwf)
    tissues = []
    for i, (amount, water) in enumerate(
        (
            (slab.white * (1 - slab.crossing) * slab.s0[..., 0], fwf),
            (slab.white * slab.crossing * slab.s0[..., 0], fwf),
            (slab.grey * slab.s0[..., 1], zero),
        )
    ):
        tissues.append(
            noddi_signal(
                values(amount),
                values(slab.ndi[..., i]),
                values(slab.odi[..., i]),
                water,
                values(slab.orientation[..., i, :]),
                b,
                g,
                slab.parallel_diffusivity,
            )
        )
    free = values((1 - slab.white - slab.grey) * slab.s0[..., 2])
    total = sum(tissues) + free[:, None] * torch.exp(-3e-3 * b)
    signal = np.zeros((*inside.shape, len(b_values)), dtype=np.float32)
    signal[inside] = total.numpy()
    return signal


def _tissue(
    anatomy: Anatomy, voxel: np.ndarray, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fractions of grey and white matter and the brain on a randomly placed grid."""
    shape = np.array(SLAB)
    inside = np.argwhere(anatomy.brain[::4, ::4, ::4] > 0) * 4
    centre = inside.mean(axis=0) + generator.uniform(-0.5, 0.5, 3) * np.ptp(inside, axis=0) * 0.6
    turn = Rotation.from_rotvec(generator.normal(0, 0.25, 3)).as_matrix()
    spin = Rotation.from_euler("z", generator.uniform(0, 2 * np.pi)).as_matrix()
    axes = (spin @ turn)[:, ::-1]  # columns: directions of slices, rows, columns in (x, y, z)
    if generator.uniform() < 0.3:
        axes = Rotation.random(random_state=int(generator.integers(2**31))).as_matrix()
    stretch = generator.uniform(0.85, 1.15, 3)
    fine = []
    for part in range(4):  # four points a voxel for partial volume
        shift = np.array([part % 2, part // 2, (part + 1) % 2]) / 2 - 0.25
        index = np.indices(SLAB).reshape(3, -1).T + shift - (shape - 1) / 2
        points = (centre[:, None] + axes @ (index * voxel * stretch).T).astype(np.float32)
        fine.append(
            [
                ndimage.map_coordinates(image, points, order=1)
                for image in (anatomy.grey, anatomy.white, anatomy.brain)
            ]
        )
    grey, white, brain = (
        np.mean([part[i] for part in fine], axis=0).reshape(SLAB) for i in range(3)
    )
    total = np.maximum(grey + white, 1.0)
    return grey / total, white / total, brain > 0.5


def _directions(
    regions: np.ndarray,
    field: Callable[[float, float], np.ndarray],
    generator: np.random.Generator,
) -> np.ndarray:
    """Unit vectors that turn smoothly within a region and jump between regions."""
    turning = generator.uniform(0.2, 0.8) * np.stack([field(10, 30) for _ in range(3)], axis=-1)
    mean = generator.standard_normal((_REGIONS, 3))
    mean /= np.linalg.norm(mean, axis=1, keepdims=True)
    direction = mean[regions] + turning
    return (direction / np.linalg.norm(direction, axis=-1, keepdims=True)).astype(np.float32)
