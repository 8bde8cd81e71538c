"""Label maps of anatomy: procedural brains of any seed, and published label volumes.

The procedural brain is level sets of random fields: a folded cortex around white matter, deep grey
nuclei, ventricles, cerebrospinal fluid around it, and on request the layers of a head. It needs
no data, and no two seeds agree. Published labels add real folding at training time.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.io import loadmat
from scipy.ndimage import gaussian_filter, map_coordinates

Labels = npt.NDArray[np.uint8]

TISSUES = (
    "air",
    "csf",
    "grey matter",
    "white matter",
    "fat",
    "muscle",
    "skull",
    "deep grey matter",
)
AIR, CSF, GREY, WHITE, FAT, MUSCLE, SKULL, DEEP_GREY = range(len(TISSUES))
BRAIN = (CSF, GREY, WHITE, DEEP_GREY)

_MRILAB = (AIR, CSF, GREY, WHITE, FAT, MUSCLE, MUSCLE, SKULL, WHITE, MUSCLE)
_BRAINWEB = {23: CSF, 46: GREY, 70: WHITE}


def random_field(
    shape: tuple[int, ...], smoothness: float | tuple[float, ...], random: np.random.Generator
) -> npt.NDArray[np.float32]:
    """Gaussian random field of mean 0 and SD 1.

    Args:
        shape: of the field.
        smoothness: SD of the Gaussian that smooths white noise, in samples.
        random: source of randomness.
    """
    field = gaussian_filter(
        random.standard_normal(shape, dtype=np.float32), smoothness, mode="wrap"
    )
    return np.asarray((field - field.mean()) / (field.std() + 1e-12), dtype=np.float32)


def procedural_brain(
    shape: tuple[int, ...], random: np.random.Generator, head: bool = False
) -> Labels:
    """Random brain-like labels.

    Args:
        shape: two or three axes.
        random: source of randomness.
        head: whether to wrap the brain in skull, muscle and fat.

    Returns:
        Labels of ``TISSUES``, of ``shape``.
    """
    grids = np.meshgrid(*[np.linspace(-1, 1, n, dtype=np.float32) for n in shape], indexing="ij")
    radii = random.uniform(0.72, 0.88, len(shape)) * (0.88 if head else 1.0)
    centre = random.uniform(-0.06, 0.06, len(shape))
    radius = np.sqrt(
        sum(((g - c) / r) ** 2 for g, c, r in zip(grids, centre, radii, strict=True))
    ) + 0.03 * random_field(shape, max(shape) / 8, random)
    size = max(shape)
    fine = random_field(shape, size * random.uniform(0.008, 0.015), random)
    # Sulci follow the zeros of a random field and end at some depth; the cortex lines them.
    sulci = np.abs(random_field(shape, size * random.uniform(0.018, 0.035), random))
    depth = np.maximum(1 - radius, 0) / random.uniform(0.4, 0.7)
    inward = np.minimum(sulci * 0.5 + 0.2 * depth**2, 2.5 * depth) + 0.02 * fine
    sulcus = random.uniform(0.04, 0.09)
    labels = np.full(shape, CSF, dtype=np.uint8)
    labels[inward > sulcus] = GREY
    labels[inward > sulcus + random.uniform(0.2, 0.35)] = WHITE
    for tissue, count, extent in ((DEEP_GREY, 4, (0.06, 0.16)), (CSF, 3, (0.04, 0.13))):
        for _ in range(count):
            where = random.uniform(-0.35, 0.35, len(shape))
            axes = random.uniform(*extent, len(shape))
            blob = sum(((g - w) / a) ** 2 for g, w, a in zip(grids, where, axes, strict=True))
            labels[(blob + 0.25 * fine < 1) & (radius < 0.9)] = tissue
    vessels = np.abs(random_field(shape, size * 0.03, random)) < random.uniform(0.0, 0.012)
    labels[vessels & (labels == WHITE)] = CSF
    labels[radius > 1] = AIR
    if head:
        for layer, inner, outer in ((SKULL, 1.0, 1.06), (MUSCLE, 1.06, 1.1), (FAT, 1.1, 1.15)):
            labels[(radius > inner) & (radius <= outer)] = layer
    return labels


@lru_cache(maxsize=1)
def mrilab_head(folder: Path) -> Labels:
    """Labels (216, 180, 180), 1 mm, of the head model in ``phantom_brain_labels``."""
    stored = loadmat(folder / "Resources" / "BrainModel.mat")["Anatomy"]
    return np.asarray(_MRILAB, dtype=np.uint8)[stored]


def brainweb_brain(folder: Path, plane: str = "axial") -> Labels:
    """Labels of one 0.5 mm slice of ``phantom_pd_t1_t2``: CSF, grey and white matter only.

    Args:
        folder: of the data set.
        plane: 'axial', 'coronal' or 'sagittal'.
    """
    stored = loadmat(folder / "KomaMRIBase" / "src" / "datatypes" / "phantom" / "brain2D.mat")[
        plane
    ]
    labels = np.zeros(stored.shape, dtype=np.uint8)
    for value, tissue in _BRAINWEB.items():
        labels[stored == value] = tissue
    return labels


def random_slice(
    volume: Labels, shape: tuple[int, int], random: np.random.Generator, head: bool = False
) -> Labels:
    """A randomly placed, turned, scaled and warped plane through a label volume.

    Args:
        volume: labels (x, y, z).
        shape: of the slice to return.
        random: source of randomness.
        head: whether to keep what is not brain.

    Returns:
        Labels of ``shape``; air outside the volume.
    """
    normal_axis = int(random.integers(3))
    rows, columns = (axis for axis in range(3) if axis != normal_axis)
    extents = np.array(volume.shape, dtype=np.float64)
    scale = random.uniform(0.3, 1.0) * max(extents[rows], extents[columns]) / np.array(shape).max()
    angle = random.uniform(-np.pi, np.pi)
    y, x = np.meshgrid(*[np.arange(n) - n / 2 for n in shape], indexing="ij")
    warp_smoothness, warp = max(shape) / 10, random.uniform(0, 0.025) * max(shape)
    y = y + warp * random_field(shape, warp_smoothness, random)
    x = x + warp * random_field(shape, warp_smoothness, random)
    tilt = random.uniform(-0.3, 0.3, 2)
    where = np.empty((3, *shape))
    where[rows] = scale * (np.cos(angle) * y - np.sin(angle) * x)
    where[columns] = scale * (np.sin(angle) * y + np.cos(angle) * x)
    where[normal_axis] = scale * (tilt[0] * y + tilt[1] * x)
    centre = extents / 2
    centre[normal_axis] = extents[normal_axis] * random.uniform(0.25, 0.75)
    shift = random.uniform(-0.1, 0.1, 3) * extents
    shift[normal_axis] = 0
    where += (centre + shift).reshape(3, 1, 1)
    labels = map_coordinates(volume, where, order=0, mode="constant", cval=AIR)
    if not head:
        labels[~np.isin(labels, BRAIN)] = AIR
    return np.asarray(labels, dtype=np.uint8)


def anatomy_source(data: Path | None) -> Callable[[tuple[int, int], np.random.Generator], Labels]:
    """Function that draws a training slice, from the published head where it is and procedural.

    Args:
        data: folder of the shared data sets, or None.
    """
    folder = data / "phantom_brain_labels" if data else None
    volume = mrilab_head(folder) if folder and folder.exists() else None

    def draw(shape: tuple[int, int], random: np.random.Generator) -> Labels:
        head = bool(random.random() < 0.2)
        if volume is not None and random.random() < 0.6:
            return random_slice(volume, shape, random, head)
        # A window of a larger brain: the voxel size varies with the window.
        grown = [int(n * random.uniform(1.0, 2.0)) for n in shape]
        brain = procedural_brain((grown[0], grown[1]), random, head)
        corner = [int(random.integers(g - n + 1)) for g, n in zip(grown, shape, strict=True)]
        return brain[corner[0] : corner[0] + shape[0], corner[1] : corner[1] + shape[1]]

    return draw
