"""Series that the prior is judged on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from models.diffusion.phantom import microstructure_signal, random_microstructure
from models.diffusion.random_draws import RandomDraws
from models.diffusion.signal_design import log_design
from models.diffusion.training_maps import Series, convert, read_nifti

# Seeds that no training uses.
_FIRST_SEED = 1_000_000
_TRIALS = 3000


def human_series(data: Path) -> Series:
    """``dwi_multishell_human``: two slices that are no neighbours, so an empty one lies between."""
    folder = data / "dwi_multishell_human"
    name = "b1k_b2k_example_slices_24_38"
    found = read_nifti(
        folder / f"{name}.nii.gz",
        folder / "b1k_b2k.bval",
        folder / "b1k_b2k.bvec",
        folder / f"{name}_mask.nii.gz",
    )

    def apart(array: np.ndarray) -> np.ndarray:
        return np.stack((array[0], np.zeros_like(array[0]), array[1]))

    return Series(
        apart(found.signals), found.b_values, found.directions, apart(found.brain), found.voxel
    )


def philips_series(data: Path) -> Series:
    """``dwi_philips_classic``: one b = 0 and 15 directions of b = 2000, the whole brain."""
    return next(iter(convert(data / "dwi_philips_classic" / "dicom")))


def simulated_series(
    anatomies: list[np.ndarray], seed: int, sigma: float, neighbours: float = 0.0
) -> tuple[Series, Series]:
    """A random slab with Rician noise, and the same without noise.

    Args:
        anatomies: as ``load_anatomies`` gives them.
        seed: which slab, which noise.
        sigma: noise SD relative to the median signal without weighting; it varies by ± 30 %
            over the slab.
        neighbours: weight of the neighbours along rows and columns in the noise, as
            interpolation leaves it.
    """
    fractions = [torch.from_numpy(one).float() / 255 for one in anatomies]
    generator = np.random.default_rng(_FIRST_SEED + seed)
    draws = RandomDraws(_FIRST_SEED + seed)
    while True:
        slabs = random_microstructure(fractions, 1, draws)
        brain = slabs.brain[0].numpy()
        if brain[1].mean() > 0.3:
            break
    directions = generator.standard_normal((60, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    b = np.concatenate((np.zeros(4), np.full(60, 1000.0)))
    g = np.vstack((np.zeros((4, 3)), directions))
    clean = microstructure_signal(
        slabs, 0, torch.as_tensor(b).float(), torch.as_tensor(g).float()
    ).numpy()
    clean /= np.median(clean[..., 0][brain])
    level = sigma * np.exp(0.3 * np.cos(np.linspace(-2, 2, clean.shape[2])))[:, None]
    noise = generator.standard_normal((2, *clean.shape))
    for axis in (2, 3):
        both = np.roll(noise, 1, axis) + np.roll(noise, -1, axis)
        noise = (noise + neighbours * both) / np.sqrt(1 + 2 * neighbours**2)
    noise = level * noise
    noisy = np.hypot(clean + noise[0], noise[1]).astype(np.float32)
    voxel = np.full(3, 2.0)
    return Series(noisy, b, g, brain, voxel), Series(clean, b, g, brain, voxel)


def best_subset(series: Series, number: int, b: float) -> np.ndarray:
    """The first b = 0 volume and the best conditioned of many random subsets of one shell."""
    shell = np.flatnonzero(series.b_values == b)
    generator = np.random.default_rng(0)
    best, smallest = shell[:number], np.inf
    if number < len(shell):
        for _ in range(_TRIALS):
            chosen = generator.choice(shell, number, replace=False)
            design = log_design(np.full(number, 1e3), series.directions[chosen])
            condition = np.linalg.cond(design[:, 1:])
            if condition < smallest:
                best, smallest = np.sort(chosen), condition
    return np.concatenate((np.flatnonzero(series.b_values == 0)[:1], best))
