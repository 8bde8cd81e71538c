"""The images that a scanner would make of the phantom, by the project's own physics."""

from __future__ import annotations

import numpy as np
import torch

from app.demo.brain_phantom import SHAPE, TISSUES, BrainPhantom
from models.cest_mt.schedule import SaturationSchedule
from models.cest_mt.signal import simulate
from models.cest_mt.specification import NetworkSpecification
from models.cest_mt.training_set import pools_of
from models.diffusion.signal import dti_signal

_SCALE = 4000.0
"""Signal of pure water at full magnetisation, without relaxation."""
_FAT_SUPPRESSION = {"scalp": 0.05}
"""Share of the signal that is left of tissues that are mostly fat."""
_SATURATION_ECHO_TIME = 11.0
DIFFUSION_ECHO_TIME = 78.0
"""ms"""
_SATURATION_NOISE = 8.0
_DIFFUSION_NOISE = 24.0
"""Standard deviation of either channel, in the unit of the signal."""


def saturation_images(
    phantom: BrainPhantom,
    schedule: SaturationSchedule,
    network: NetworkSpecification,
    random: np.random.Generator,
) -> np.ndarray:
    """Saturation-prepared images: (slices, rows, columns, images), Rician noise.

    Tissues that share a voxel add their signals. B0 is on resonance and B1 nominal.

    Args:
        phantom: what is imaged.
        schedule: what is played.
        network: which pools there are besides water.
        random: source of the noise.
    """
    uniform = {"b0_shift": 0.0, "b1_scale": 1.0}
    inside = {tissue: phantom.shares[tissue] > 0 for tissue in TISSUES}
    voxels = [
        np.stack(
            [
                phantom.values(tissue, quantity.name)[where]
                if quantity.name not in uniform
                else np.full(np.count_nonzero(where), uniform[quantity.name])
                for quantity in network.varied
            ],
            axis=1,
        )
        for tissue, where in inside.items()
    ]
    # Values come in steps, so that few of all voxels differ.
    different, back = np.unique(np.concatenate(voxels), axis=0, return_inverse=True)
    pools = pools_of(network, torch.from_numpy(different.astype(np.float64)))
    signals = simulate(schedule, pools).numpy().astype(np.float32)[back.reshape(-1)]
    total = np.zeros((*SHAPE, schedule.number_of_images), dtype=np.float32)
    ends = np.cumsum([len(rows) for rows in voxels])[:-1]
    for (tissue, where), signal in zip(inside.items(), np.split(signals, ends), strict=True):
        decay = np.exp(-_SATURATION_ECHO_TIME / phantom.values(tissue, "t2")[where])
        weight = _scale(tissue) * phantom.proton_density(tissue)[where] * decay
        total[where] += weight[:, None] * signal
    return _rician(total, _SATURATION_NOISE, random)


def diffusion_images(
    phantom: BrainPhantom,
    b_values: np.ndarray,
    directions: np.ndarray,
    random: np.random.Generator,
) -> np.ndarray:
    """Spin-echo EPI images: (slices, rows, columns, volumes), Rician noise.

    Args:
        phantom: what is imaged.
        b_values: (volumes,) s/mm².
        directions: (volumes, 3) unit vectors in the patient frame, zero for b = 0.
        random: source of the noise.
    """
    total = np.zeros((*SHAPE, len(b_values)), dtype=np.float32)
    table = torch.from_numpy(b_values), torch.from_numpy(directions)
    for tissue in TISSUES:
        inside = phantom.shares[tissue] > 0
        decay = np.exp(-DIFFUSION_ECHO_TIME / phantom.values(tissue, "t2")[inside])
        s0 = _scale(tissue) * phantom.proton_density(tissue)[inside] * decay
        tensor = phantom.tensor(tissue)[inside]
        signal = dti_signal(
            torch.from_numpy(s0).double(), torch.from_numpy(tensor).double(), *table
        )
        total[inside] += signal.numpy().astype(np.float32)
    return _rician(total, _DIFFUSION_NOISE, random)


def half_sphere(number: int) -> np.ndarray:
    """(number, 3) unit vectors spread evenly over half a sphere, on a golden spiral."""
    index = np.arange(number)
    height = (index + 0.5) / number
    angle = index * np.pi * (3 - np.sqrt(5))
    radius = np.sqrt(1 - height**2)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), height], axis=1)


def _scale(tissue: str) -> float:
    return _SCALE * _FAT_SUPPRESSION.get(tissue, 1.0)


def _rician(signal: np.ndarray, deviation: float, random: np.random.Generator) -> np.ndarray:
    """Magnitude of the signal after Gaussian noise in both channels."""
    real = signal + random.normal(0, deviation, signal.shape).astype(np.float32)
    imaginary = random.normal(0, deviation, signal.shape).astype(np.float32)
    return np.hypot(real, imaginary)
