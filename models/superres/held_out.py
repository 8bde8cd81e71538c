"""Held-back phantoms with a known answer, and the figures of merit on them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from models.superres.anatomy import CSF, GREY, WHITE, Labels, brainweb_brain, procedural_brain
from models.superres.degradation import KSpaceTruncation, low_resolution_shape
from models.superres.metrics import DATA_RANGE, hfen, ssim
from models.superres.network import SMALLEST, UPPER, per_map
from models.superres.phantom import (
    Maps,
    block_mean,
    random_maps,
    reference_values,
    tissue_maps,
)
from models.superres.signal import FastSpinEcho, Flair, Mprage, WeightedSequence
from models.superres.study import Study, signals

T1_WEIGHTED = Mprage(2300, 1100, 9, 7.5, 160, 80)
"""TR, TI in ms, flip angle, echo spacing in ms, readouts, centre: a 3 T MPRAGE."""
T2_WEIGHTED = FastSpinEcho(4000, 100)
FLAIR = Flair(9000, 2500, 100)
"""Unseen contrast: TR, TI, TE in ms."""

TISSUE_T2 = 300.0
"""T2 in ms up to which the edges of tissue are judged: those of fluid are ten times as high."""


@dataclass(frozen=True)
class Phantom:
    """Maps with a known answer.

    Attributes:
        maps: (1, 3, *shape) PD, T1 in ms, T2 in ms; zeros outside ``mask``.
        fractions: share of CSF, grey and white matter in each voxel, each (*shape).
        mask: (1, 1, *shape) 1 where half of the voxel or more is brain.
    """

    maps: Tensor
    fractions: dict[str, npt.NDArray[np.float32]]
    mask: Tensor


def phantom_of(labels: Labels, maps: Maps | None = None) -> Phantom:
    """Phantom at half the resolution of fine labels, each fine axis even, with partial volume.

    Args:
        labels: fine labels.
        maps: (3, *shape) PD, T1 in ms, T2 in ms at half that resolution; None for the reference
            value in each tissue.
    """
    if maps is None:
        maps = tissue_maps(labels, reference_values(), 2)
    fractions = {
        name: block_mean((labels == tissue)[None].astype(np.float32), 2)[0]
        for name, tissue in (("csf", CSF), ("grey matter", GREY), ("white matter", WHITE))
    }
    mask = torch.from_numpy(sum(fractions.values()) >= 0.5)[None, None].float()
    return Phantom(torch.from_numpy(maps)[None] * mask, fractions, mask)


def published_labels(data: Path, plane: str = "axial") -> Labels:
    """Fine labels of one slice of a published brain, the axes multiples of 24.

    Args:
        data: folder of the shared data sets.
        plane: 'axial', 'coronal' or 'sagittal'.
    """
    labels = brainweb_brain(data / "phantom_pd_t1_t2", plane)
    shape = [24 * -(-n // 24) for n in labels.shape]
    padded = np.zeros(shape, dtype=np.uint8)
    corner = [(n - m) // 2 for n, m in zip(shape, labels.shape, strict=True)]
    padded[corner[0] : corner[0] + labels.shape[0], corner[1] : corner[1] + labels.shape[1]] = (
        labels
    )
    return padded


def published_phantom(data: Path, plane: str = "axial") -> Phantom:
    """One slice at 1 mm of a published brain that no training phantom comes from.

    Args:
        data: folder of the shared data sets.
        plane: 'axial', 'coronal' or 'sagittal'.
    """
    return phantom_of(published_labels(data, plane))


def varied_phantom(labels: Labels, seed: int) -> Phantom:
    """A random subject on fine labels: own tissue values, texture and lesions.

    Args:
        labels: of two axes.
        seed: of the subject; no training phantom has it.
    """
    random = np.random.default_rng((2_000_000, seed))
    upper = np.array(UPPER, dtype=np.float32).reshape(3, 1, 1)
    return phantom_of(labels, np.minimum(random_maps(labels, 2, random), upper))


def varied_phantoms(data: Path | None, count: int) -> list[Phantom]:
    """Subjects on slices of the published brain in turn; on procedural brains without data."""
    if data is None:
        random = np.random.default_rng(2_000_000)
        anatomies = [procedural_brain((432, 360), random) for _ in range(2)]
    else:
        anatomies = [published_labels(data, plane) for plane in ("axial", "coronal")]
    return [varied_phantom(anatomies[i % len(anatomies)], i) for i in range(count)]


def procedural_phantom(shape: tuple[int, ...], seed: int) -> Phantom:
    """Procedural brain with the reference tissue values, from seeds that training never uses."""
    random = np.random.default_rng((1_000_000, seed))
    return phantom_of(procedural_brain(tuple(2 * n for n in shape), random))


def measured_study(
    phantom: Phantom,
    factors: tuple[float, ...],
    noise: float = 0.01,
    seed: int = 0,
    guides: tuple[bool, bool] = (True, True),
    sequences: tuple[WeightedSequence, WeightedSequence] = (T1_WEIGHTED, T2_WEIGHTED),
    scale: float = 300.0,
) -> Study:
    """A scan of a phantom.

    Args:
        phantom: what is scanned.
        factors: of k-space truncation, per axis.
        noise: SD over the mean in the brain, of every map and guide.
        seed: of the noise.
        guides: whether the T1w and the T2w guide are there.
        sequences: of the guides.
        scale: guide units per unit of PD.
    """
    generator = torch.Generator().manual_seed(seed)
    shape = tuple(phantom.maps.shape[2:])
    wide = [1] * len(shape)
    inside = phantom.mask[0, 0] > 0
    truncation = KSpaceTruncation(shape, low_resolution_shape(shape, factors))
    map_noise = noise * phantom.maps[0, :, inside].mean(-1)
    measured = truncation(phantom.maps)
    measured = measured + map_noise.view(1, 3, *wide) * torch.randn(
        measured.shape, generator=generator
    )
    images = signals(sequences, phantom.maps)
    guide_noise = noise * images[0, :, inside].mean(-1)
    images = images + guide_noise.view(1, 2, *wide) * torch.randn(images.shape, generator=generator)
    present = torch.tensor(guides).view(1, 2, *wide)
    return Study(
        maps=measured,
        guides=images.abs() * scale * phantom.mask * present,
        sequences=tuple(s if g else None for s, g in zip(sequences, guides, strict=True)),  # type: ignore[arg-type]  # two of two
        mask=phantom.mask,
        guide_noise=torch.full((1, 2), max(noise, 1e-3)),
        map_noise=map_noise.clamp_min(1e-4)[None],
    )


def flair_of(maps: Tensor, mask: Tensor) -> npt.NDArray[np.float32]:
    """Synthetic FLAIR (*shape) of maps (1, 3, *shape) inside the mask."""
    positive = torch.maximum(maps, per_map(SMALLEST, maps))
    return np.asarray((FLAIR.signal(*positive.unbind(1)) * mask[:, 0])[0].detach().numpy())


def figures(maps: Tensor, phantom: Phantom, study: Study) -> dict[str, float]:
    """Figures of merit of maps (1, 3, *shape) on a phantom.

    Returns:
        HFEN and SSIM of each map and of FLAIR, HFEN of T2 up to ``TISSUE_T2``, mean absolute T1
        and T2 error in grey matter (voxels of at least half grey matter) in ms, bias of tissue
        medians in % (voxels of at least 95 % tissue),
        and the root mean square low-resolution residual in SD of the measured maps.
    """
    inside = phantom.mask[0, 0].numpy() > 0
    ours, truth = maps[0].detach().numpy(), phantom.maps[0].numpy()
    result = {}
    for index, (name, span) in enumerate(DATA_RANGE.items()):
        result[f"{name} HFEN"] = hfen(ours[index], truth[index], inside)
        result[f"{name} SSIM"] = ssim(ours[index] * inside, truth[index], inside, span)
    result["t2 HFEN in tissue"] = hfen(
        np.minimum(ours[2], TISSUE_T2), np.minimum(truth[2], TISSUE_T2), inside
    )
    flair, true_flair = flair_of(maps, phantom.mask), flair_of(phantom.maps, phantom.mask)
    result["FLAIR SSIM"] = ssim(flair, true_flair, inside, float(true_flair.max()))
    grey = (phantom.fractions["grey matter"] >= 0.5) & inside
    for index, name in ((1, "T1"), (2, "T2")):
        result[f"GM {name} error (ms)"] = float(np.abs(ours[index] - truth[index])[grey].mean())
    for index, name in ((1, "T1"), (2, "T2")):
        for tissue, fraction in phantom.fractions.items():
            pure = (fraction >= 0.95) & inside
            bias = np.median(ours[index][pure]) / np.median(truth[index][pure]) - 1
            result[f"{tissue} {name} bias (%)"] = float(100 * bias)
    for name, value in zip(DATA_RANGE, low_resolution_residual(maps, study), strict=True):
        result[f"{name} residual (SD)"] = value
    return result


def low_resolution_residual(maps: Tensor, study: Study) -> list[float]:
    """Root mean square of truncated minus measured maps in the brain, in SD of the noise."""
    truncation = study.truncation
    inside = truncation(study.mask)[0, 0] > 0.5
    difference = (truncation(maps) - study.maps)[0] / study.map_noise[0].view(3, *[1] * inside.ndim)
    return [float(v) for v in difference[:, inside].square().mean(-1).sqrt()]
