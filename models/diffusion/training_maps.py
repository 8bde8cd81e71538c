"""Training examples of the priors: parameter maps of synthetic and of real brains.

Synthetic slabs are fitted without noise, at random b, so that each map is exactly what a fit
estimates (with the partial volume and the b-dependence that this implies). Real series are
converted by dcm2niix and fitted with all their volumes. ``dwi_multishell_human`` and
``dwi_philips_classic`` are kept out: they are for evaluation only.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import torch
from scipy import ndimage
from scipy.spatial.transform import Rotation

from models.diffusion.channels import DKI, DTI, Stack, tensor_to_mandel
from models.diffusion.phantom import (
    SLAB,
    Anatomy,
    microstructure_signal,
    random_microstructure,
)
from models.diffusion.signal_design import log_design
from models.diffusion.tensor_fit import TensorLeastSquares

#: Series of which fitted maps are trained on, as folders of the shared data.
TRAINING_SERIES = (
    "dwi_siemens_xa30_enhanced/dicom/10_DWI_dir80_PA",
    "dwi_uih_mosaic/dicom/DTI_132225",
    "dwi_uih_mosaic/dicom/DTI_134434",
)
_DIRECTIONS = 30


@dataclass(frozen=True)
class RealMaps:
    """Maps fitted to a real series.

    Attributes:
        maps: (7, slices, rows, columns) DTI channels, zero outside the brain.
        brain: (slices, rows, columns).
        voxel: size along slices, rows and columns, mm.
    """

    maps: np.ndarray
    brain: np.ndarray
    voxel: np.ndarray


@dataclass(frozen=True)
class Series:
    """A real series on the frame of its array.

    Attributes:
        signals: float32 (slices, rows, columns, volumes).
        b_values: (volumes,) s/mm².
        directions: (volumes, 3), x along columns, y along rows, z along slices.
        brain: (slices, rows, columns).
        voxel: size along slices, rows and columns, mm.
    """

    signals: np.ndarray
    b_values: np.ndarray
    directions: np.ndarray
    brain: np.ndarray
    voxel: np.ndarray


def read_nifti(image: Path, b_values: Path, b_vectors: Path, mask: Path | None = None) -> Series:
    """Read a series in the layout of FSL; masks with DIPY's median_otsu where no mask is given.

    FSL's vectors are along the array's axes, the first one reversed where the affine is
    right-handed.
    """
    loaded = nibabel.nifti1.load(image)
    signals = np.asarray(loaded.dataobj, dtype=np.float32)
    b = np.loadtxt(b_values).ravel()
    g = np.loadtxt(b_vectors)
    g = g.T if g.shape[0] == 3 else g
    if np.linalg.det(loaded.affine[:3, :3]) > 0:
        g = g * [-1, 1, 1]
    norm = np.linalg.norm(g, axis=1, keepdims=True)
    g = np.where((b < 50)[:, None], 0.0, g / np.where(norm > 0, norm, 1.0))
    b = np.where(b < 50, 0.0, b)
    if mask is None:
        from dipy.segment.mask import median_otsu

        _, brain = median_otsu(signals[..., b == 0].mean(axis=-1), median_radius=2, numpass=1)
        brain = ndimage.binary_erosion(brain)
    else:
        brain = np.asarray(nibabel.nifti1.load(mask).dataobj) > 0
    zooms = np.array(loaded.header.get_zooms()[:3])
    return Series(signals.transpose(2, 1, 0, 3), b, g, brain.transpose(2, 1, 0), zooms[::-1])


def convert(folder: Path) -> Iterator[Series]:
    """Series of a DICOM folder, through dcm2niix; volumes that it calls derived are dropped."""
    with tempfile.TemporaryDirectory() as work:
        subprocess.run(
            ["dcm2niix", "-f", "series%s", "-o", work, str(folder)], check=True, capture_output=True
        )
        for b_values in sorted(Path(work).glob("*.bval")):
            yield read_nifti(b_values.with_suffix(".nii"), b_values, b_values.with_suffix(".bvec"))


def dti_channels(fit_s0: np.ndarray, tensor: np.ndarray, reference: float) -> np.ndarray:
    """(voxels, 7) channels from S0 and (voxels, 6) tensors in mm²/s."""
    log_s0 = np.log(np.maximum(fit_s0, 1e-6) / reference)
    return np.column_stack((log_s0, tensor_to_mandel(tensor * 1e3)))


def real_maps(data: Path) -> list[RealMaps]:
    """Maps of the training series under ``data``, by ordinary least squares on all volumes."""
    found = []
    for name in TRAINING_SERIES:
        for series in convert(data / name):
            fit = TensorLeastSquares(series.b_values, series.directions, "ordinary").fit(
                torch.from_numpy(series.signals[series.brain])
            )
            s0 = fit.s0.numpy()
            maps = np.zeros((len(DTI), *series.brain.shape), dtype=np.float32)
            maps[:, series.brain] = dti_channels(s0, fit.tensor.numpy(), float(np.median(s0))).T
            found.append(RealMaps(maps.clip(-4, 5), series.brain, series.voxel))
    return found


def rotate_tensor_channels(maps: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    """Turn six tensor channels in Mandel's notation, first axis: D -> R D R'."""
    root = np.sqrt(0.5)
    xx, yy, zz = maps[:3]
    xy, xz, yz = maps[3:] * root
    matrix = np.stack((xx, xy, xz, xy, yy, yz, xz, yz, zz)).reshape(3, 3, *maps.shape[1:])
    turned = np.einsum("ia,ab...,jb->ij...", rotation, matrix, rotation)
    t = turned
    return np.stack((t[0, 0], t[1, 1], t[2, 2], t[0, 1] / root, t[0, 2] / root, t[1, 2] / root))


def real_slab(source: RealMaps, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A turned and zoomed slab of real maps: (7, *SLAB) channels and (*SLAB) brain."""
    euler = generator.normal(0, 10), generator.normal(0, 10), generator.uniform(0, 360)
    rotation = Rotation.from_euler("xyz", euler, degrees=True).as_matrix()
    if generator.uniform() < 0.3:
        rotation = Rotation.random(random_state=int(generator.integers(2**31))).as_matrix()
    zoom = np.exp(generator.uniform(np.log(0.55), np.log(1.1)))
    spacing = zoom * source.voxel[1] * np.array([generator.uniform(0.8, 1.5), 1, 1])
    centre = generator.permutation(np.argwhere(source.brain))[0] * source.voxel
    index = np.indices(SLAB).reshape(3, -1).T - (np.array(SLAB) - 1) / 2
    # Rows of ``rotation`` are the new axes x, y, z in the old ones; arrays are (z, y, x).
    offset = (index * spacing)[:, ::-1] @ rotation
    points = ((centre + offset[:, ::-1]) / source.voxel).T
    brain = ndimage.map_coordinates(source.brain.astype(np.float32), points, order=1)
    weight = np.where(brain > 0, brain, 1.0)
    maps = np.stack(
        [ndimage.map_coordinates(channel, points, order=1) / weight for channel in source.maps]
    ).reshape(-1, *SLAB)
    maps[1:7] = rotate_tensor_channels(maps[1:7], rotation)
    brain = brain.reshape(SLAB) > 0.6
    return maps * brain, brain


def synthetic_slab(
    stack: Stack, anatomies: list[Anatomy], generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Noise-free fit of a random slab: (channels, *SLAB) and (*SLAB) brain."""
    slab = random_microstructure(anatomies, generator)
    brain = slab.brain
    reach = (
        generator.uniform(700, 1500) if generator.uniform() < 0.8 else generator.uniform(1500, 2600)
    )
    shells = (
        [reach] if stack is DTI else [generator.uniform(700, 1200), generator.uniform(1800, 2600)]
    )
    vectors = Rotation.random(
        _DIRECTIONS * len(shells), random_state=int(generator.integers(2**31))
    ).as_matrix()[:, 0]
    directions = np.vstack((np.zeros((1, 3)), vectors))
    b = np.concatenate(([0.0], np.repeat(shells, _DIRECTIONS)))
    signal = microstructure_signal(slab, b, directions)[brain].astype(np.float64)
    design = log_design(b, directions, kurtosis=stack is DKI)
    log_signal = np.log(np.maximum(signal / np.median(signal[:, 0]), 1e-5))
    solution = log_signal @ np.linalg.pinv(design).T
    maps = np.zeros((len(stack), *SLAB), dtype=np.float32)
    maps[:, brain] = solution.clip(-6, 8).T
    return maps, brain
