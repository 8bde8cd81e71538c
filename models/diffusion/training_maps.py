"""What is read to train the prior: anatomies, and maps fitted to real series.

Real series are converted by dcm2niix and fitted with all their volumes. ``dwi_multishell_human``
and ``dwi_philips_classic`` are kept out: they are for evaluation only.
"""

from __future__ import annotations

import importlib.util
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import nibabel
import numpy as np
import scipy.io
import torch
from scipy import ndimage

from models.diffusion.channels import DTI, tensor_to_mandel
from models.diffusion.series import Series
from models.diffusion.tensor_fit import TensorLeastSquares
from models.diffusion.training_inputs import Inputs

#: Series of which fitted maps are trained on, as folders of the shared data.
TRAINING_SERIES = (
    "dwi_siemens_xa30_enhanced/dicom/10_DWI_dir80_PA",
    "dwi_uih_mosaic/dicom/DTI_132225",
    "dwi_uih_mosaic/dicom/DTI_134434",
)


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


def real_maps(data: Path) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Maps of the training series under ``data``, by ordinary least squares on all volumes.

    Returns:
        ``real`` and ``voxels`` of :class:`Inputs`.
    """
    found, voxels = [], []
    for name in TRAINING_SERIES:
        for series in convert(data / name):
            fit = TensorLeastSquares(series.b_values, series.directions, "ordinary").fit(
                torch.from_numpy(series.signals[series.brain])
            )
            s0 = fit.s0.numpy()
            maps = np.zeros((len(DTI) + 1, *series.brain.shape), dtype=np.float16)
            channels = dti_channels(s0, fit.tensor.numpy(), float(np.median(s0)))
            maps[: len(DTI), series.brain] = channels.clip(-4, 5).T
            maps[-1] = series.brain
            found.append(maps)
            voxels.append(series.voxel)
    return found, voxels


def load_anatomies(data: Path) -> list[np.ndarray]:
    """The template of nilearn and the labelled brain under ``data``.

    Args:
        data: folder with ``phantom_brain_labels``.

    Returns:
        ``anatomies`` of :class:`Inputs`.
    """
    found = importlib.util.find_spec("nilearn")
    if found is None or not found.submodule_search_locations:
        raise FileNotFoundError("training needs the tissue maps of the package nilearn")
    folder = Path(found.submodule_search_locations[0]) / "datasets" / "data"

    def template(name: str) -> np.ndarray:
        path = folder / f"mni_icbm152_{name}_tal_nlin_sym_09a_converted.nii.gz"
        return np.asarray(nibabel.nifti1.load(path).dataobj).astype(np.uint8)

    head = ndimage.binary_dilation(ndimage.binary_fill_holes(template("t1") > 0), iterations=1)
    return [
        np.stack((template("gm"), template("wm"), head.astype(np.uint8) * 255)),
        labelled_brain(data),
    ]


def labelled_brain(data: Path) -> np.ndarray:
    """The labelled brain under ``data`` alone; one of ``anatomies`` of :class:`Inputs`."""
    labels = scipy.io.loadmat(
        data / "phantom_brain_labels" / "Resources" / "BrainModel.mat", variable_names=["Anatomy"]
    )["Anatomy"]
    tissues = [np.isin(labels, kinds) for kinds in ((2, 8), (3,), (1, 2, 3, 8))]
    return np.stack(tissues).astype(np.uint8) * 255


def make_inputs(data: Path) -> Inputs:
    """Everything that training reads from ``data`` and from nilearn."""
    return Inputs(load_anatomies(data), *real_maps(data))
