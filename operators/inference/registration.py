"""Rigid registration of a guide to the measured maps, by mutual information (SimpleITK).

Mattes et al., IEEE Trans. Med. Imaging 22:120 (2003), doi 10.1109/TMI.2003.809072. One thread and
a fixed seed, so that the same images give the same transform.
"""

from __future__ import annotations

from dataclasses import dataclass

import highdicom as hd
import numpy as np
import SimpleITK as sitk  # noqa: N813 - the name that its documentation uses

from operators.inference.resample import same_grid
from operators.inference.target_grid import resolution_along

SEED = 20
THINNEST = 25.0
"""mm below which a slab is too thin for its tilt to be estimated."""
_FEWEST_SAMPLES = 4
"""Samples along an axis that the filters need."""
NEGLIGIBLE = 0.1
"""Root mean square displacement of the head, over the smallest side of the maps' voxels, below
which registration cannot be told from its own error and the headers' positions are taken."""

_BINS = 48
_SAMPLES = 0.3
_ITERATIONS = 120
_LEVELS = ((2, 3.0), (1, 1.0))
"""Shrink factor and smoothing, mm, of each level."""
_FEWEST_SHRUNK = 12
"""Samples along every axis from which a level may shrink."""
_FWHM_TO_SD = 1 / np.sqrt(8 * np.log(2))
_FINER = 1.05
_DECIMALS = 6
"""Of the transform's parameters (radians, mm): sums may differ in their last bit."""


@dataclass(frozen=True)
class Alignment:
    """Where a guide lies against the maps.

    Attributes:
        transform: places of the maps' frame (LPS, mm) -> places of the guide.
        shift: displacement of the centre of the head, mm.
        rotation: degrees.
        registered: whether it could be estimated; False leaves the headers' positions.
        is_identity: whether the positions in the headers are taken as they are.
    """

    transform: sitk.Transform
    shift: float
    rotation: float
    registered: bool
    is_identity: bool


def image_of(array: np.ndarray, geometry: hd.VolumeGeometry) -> sitk.Image:
    """A SimpleITK image (LPS) of (slices, rows, columns) on a grid."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(array, np.float32))
    image.SetSpacing([float(v) for v in geometry.spacing[::-1]])
    image.SetOrigin([float(v) for v in geometry.affine[:3, 3]])
    image.SetDirection(geometry.direction[:, ::-1].ravel().tolist())
    return image


def align(
    fixed: np.ndarray,
    mask: np.ndarray,
    maps: hd.VolumeGeometry,
    moving: np.ndarray,
    guide: hd.VolumeGeometry,
) -> Alignment:
    """The rigid motion between two images of one head.

    Args:
        fixed: (slices, rows, columns) image synthesised from the maps, of the guide's contrast.
        mask: boolean, same shape: the head.
        maps: grid of both.
        moving: (slices, rows, columns) guide.
        guide: its grid.
    """
    centre = maps.affine[:3, :3] @ np.argwhere(mask).mean(0) + maps.affine[:3, 3]
    identity = sitk.Euler3DTransform()
    identity.SetCenter([float(v) for v in centre])
    if _is_thin(maps) or _is_thin(guide):
        return Alignment(identity, 0.0, 0.0, registered=False, is_identity=True)
    still = image_of(fixed, maps)
    moved = image_of(moving, guide)
    for axis in range(3):
        moved = _smoothed_along(moved, axis, min(maps.spacing))
    method = _method(still, image_of(mask, maps), identity, min(fixed.shape))
    found = sitk.Euler3DTransform(identity)
    method.SetInitialTransform(found, inPlace=True)
    method.Execute(still, moved)
    found.SetParameters([round(value, _DECIMALS) for value in found.GetParameters()])
    shift = np.linalg.norm(np.array(found.TransformPoint(tuple(centre))) - centre)
    matrix = np.array(found.GetMatrix()).reshape(3, 3)
    rotation = np.degrees(np.arccos(np.clip((np.trace(matrix) - 1) / 2, -1, 1)))
    places = maps.affine[:3, :3] @ np.argwhere(mask).T + maps.affine[:3, 3:] - centre[:, None]
    moves = (matrix - np.eye(3)) @ places + np.array(found.GetTranslation())[:, None]
    displacement = np.sqrt(np.mean(np.sum(moves**2, axis=0)))
    here = bool(displacement < NEGLIGIBLE * min(maps.spacing))
    return Alignment(identity if here else found, float(shift), float(rotation), True, here)


def _is_thin(grid: hd.VolumeGeometry) -> bool:
    return min(grid.spatial_shape) < _FEWEST_SAMPLES or min(grid.physical_extent) < THINNEST


def _method(
    still: sitk.Image, mask: sitk.Image, start: sitk.Transform, fewest: int
) -> sitk.ImageRegistrationMethod:
    method = sitk.ImageRegistrationMethod()
    method.SetNumberOfThreads(1)
    method.SetNumberOfWorkUnits(1)
    method.SetMetricAsMattesMutualInformation(_BINS)
    method.SetMetricFixedMask(sitk.Cast(mask > 0, sitk.sitkUInt8))
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentage(_SAMPLES, SEED)
    method.SetInterpolator(sitk.sitkLinear)
    levels = _LEVELS if fewest >= _FEWEST_SHRUNK else _LEVELS[-1:]
    method.SetShrinkFactorsPerLevel([shrink for shrink, _ in levels])
    method.SetSmoothingSigmasPerLevel([smooth for _, smooth in levels])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=1.0,
        minStep=1e-3,
        numberOfIterations=_ITERATIONS,
        relaxationFactor=0.6,
        gradientMagnitudeTolerance=1e-6,
    )
    method.SetOptimizerScalesFromPhysicalShift()
    return method


def _smoothed_along(image: sitk.Image, axis: int, wanted: float) -> sitk.Image:
    """The image without the detail along one axis that voxels of ``wanted`` mm cannot hold."""
    spacing = image.GetSpacing()[axis]
    if wanted <= _FINER * spacing or image.GetSize()[axis] < _FEWEST_SAMPLES:
        return image
    smooth = sitk.RecursiveGaussianImageFilter()
    smooth.SetNumberOfThreads(1)
    smooth.SetDirection(axis)
    smooth.SetSigma(_FWHM_TO_SD * float(np.sqrt(wanted**2 - spacing**2)))
    return smooth.Execute(image)


@dataclass(frozen=True)
class Placed:
    """A guide on the grid of the result.

    Attributes:
        values: float32 (slices, rows, columns), not negative; 0 where not covered.
        covered: boolean, same shape: within the guide's field of view.
        interpolated: False where both grids are one and nothing had moved.
    """

    values: np.ndarray
    covered: np.ndarray
    interpolated: bool


def place(
    guide: np.ndarray, grid: hd.VolumeGeometry, target: hd.VolumeGeometry, alignment: Alignment
) -> Placed:
    """The guide at the voxels of ``target``, by cubic B-splines.

    A guide that is finer is smoothed to the target's voxels first. Splines overshoot at edges:
    magnitudes below zero are set to zero.

    Args:
        guide: (slices, rows, columns), finite.
        grid: of the guide.
        target: grid wanted.
        alignment: where the guide lies against the target's frame.
    """
    if alignment.is_identity and same_grid(grid, target):
        return Placed(guide.astype(np.float32), np.ones(guide.shape, dtype=bool), False)
    image = image_of(guide, grid)
    for axis, wanted in enumerate(resolution_along(grid, target)[::-1]):
        image = _smoothed_along(image, axis, float(wanted))
    reference = image_of(np.zeros(target.spatial_shape, np.float32), target)
    resample = sitk.ResampleImageFilter()
    resample.SetNumberOfThreads(1)
    resample.SetReferenceImage(reference)
    resample.SetTransform(alignment.transform)
    resample.SetInterpolator(sitk.sitkBSpline)
    values = sitk.GetArrayFromImage(resample.Execute(image))
    resample.SetInterpolator(sitk.sitkNearestNeighbor)
    inside = image_of(np.ones(guide.shape, np.float32), grid)
    covered = sitk.GetArrayFromImage(resample.Execute(inside)) > 0
    return Placed(np.maximum(values, 0, dtype=np.float32), covered, True)
