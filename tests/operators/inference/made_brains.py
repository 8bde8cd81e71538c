"""Diffusion series of a made brain: white matter, grey matter, fluid, noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from models.diffusion.signal import dti_signal
from operators.vocabulary.acquisition import GradientTable

SHAPE = (10, 56, 48)  # slices of 4 mm, rows and columns of 2 mm: 96 mm across
S0 = 1000.0


@dataclass(frozen=True)
class MadeBrain:
    """What is imaged.

    Attributes:
        inside: boolean (slices, rows, columns), the brain.
        white, grey, fluid: parts of it.
        tensor: (slices, rows, columns, 6) mm²/s, LPS.
        anisotropy: (slices, rows, columns) FA.
    """

    inside: np.ndarray
    white: np.ndarray
    grey: np.ndarray
    fluid: np.ndarray
    tensor: np.ndarray
    anisotropy: np.ndarray


def made_brain() -> MadeBrain:
    """Fibres run around the head in a ring; grey matter outside, fluid within."""
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    radius = np.sqrt((z / 1.4) ** 2 + (y / 0.9) ** 2 + (x / 0.85) ** 2)
    inside = radius < 1
    fluid = radius < 0.3
    white = (radius >= 0.3) & (radius < 0.7)
    along = np.stack((-y, x, np.zeros_like(x)), axis=-1)
    along /= np.maximum(np.linalg.norm(along, axis=-1, keepdims=True), 1e-9)
    dyad = np.stack(
        [
            along[..., i] * along[..., j]
            for i, j in ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))
        ],
        axis=-1,
    )
    isotropic = np.array([1.0, 1, 1, 0, 0, 0])
    tensor = np.where(
        white[..., None],
        0.4e-3 * isotropic + 0.9e-3 * dyad,
        np.where(fluid[..., None], 2.8e-3, 0.85e-3) * isotropic,
    )
    anisotropy = np.where(white, _anisotropy(1.3, 0.4), 0.0)
    return MadeBrain(inside, white, inside & (radius >= 0.7), fluid, tensor, anisotropy)


def _anisotropy(axial: float, radial: float) -> float:
    return float((axial - radial) / np.sqrt(axial**2 + 2 * radial**2))


def table_of(directions: int, b_values: tuple[float, ...] = (1000.0,)) -> GradientTable:
    """One b0 and evenly spread directions of each shell."""
    index = np.arange(directions) + 0.5
    z, angle = 1 - index / directions, np.pi * (1 + 5**0.5) * index
    ring = np.sqrt(1 - z**2)
    vectors = np.stack((ring * np.cos(angle), ring * np.sin(angle), z), axis=1)
    return GradientTable(
        np.r_[0.0, np.repeat(b_values, directions)],
        np.vstack((np.zeros((1, 3)), *[vectors] * len(b_values))),
    )


def signals_of(brain: MadeBrain, table: GradientTable, noise: float, seed: int = 0) -> np.ndarray:
    """float32 (slices, rows, columns, volumes) magnitudes; fluid is twice as bright."""
    level = S0 * np.where(brain.fluid, 2.0, 1.0) * brain.inside
    clean = dti_signal(
        torch.as_tensor(level),
        torch.as_tensor(brain.tensor),
        torch.as_tensor(table.b_values),
        torch.as_tensor(table.directions),
    ).numpy()
    draws = np.random.default_rng(seed).normal(0, noise, (2, *clean.shape))
    return np.hypot(clean + draws[0], draws[1]).astype(np.float32)
