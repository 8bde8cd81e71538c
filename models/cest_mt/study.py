"""One measured or simulated study: the voxels that train-by-fit learns from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from models.cest_mt.self_supervised import StudyVoxels
from models.cest_mt.specification import AMIDE_3T, MT_3T, NetworkSpecification
from models.cest_mt.training import add_noise
from models.cest_mt.training_set import simulate_values

MAPS = ("t1", "t2", "b0_shift", "b1_scale")
SIGNALS = {MT_3T.name: "mt_signal", AMIDE_3T.name: "amide_signal"}
_LEAST_SIGNAL = 0.1
"""Voxels below this share of the 99th percentile of the M0 image are background."""


@dataclass(frozen=True)
class Study:
    """The measurements of one subject on one grid.

    Attributes:
        signals: per network name, (..., images) magnitude images, M0 image first.
        maps: T1 and T2 in ms, B0 shift in ppm, B1 scale, each (...).
        mask: (...) voxels to analyse.
        truth: true parameters where the study was simulated, each (...); else empty.
        left_out: number of voxels that were to be analysed and cannot be.
    """

    signals: Mapping[str, np.ndarray]
    maps: Mapping[str, np.ndarray]
    mask: np.ndarray
    truth: Mapping[str, np.ndarray]
    left_out: int = 0

    def voxels(
        self, specification: NetworkSpecification, estimates: Mapping[str, np.ndarray]
    ) -> StudyVoxels:
        """The masked voxels of one protocol.

        Args:
            specification: of the network that is to learn them.
            estimates: (...) maps that an earlier stage found.
        """
        maps = {**self.maps, **estimates}
        columns = [maps[quantity.name][self.mask] for quantity in specification.conditions]
        return StudyVoxels(
            torch.from_numpy(self.signals[specification.name][self.mask].astype(np.float32)),
            torch.from_numpy(np.stack(columns, axis=1).astype(np.float32)),
        )


def load_study(file: Path) -> Study:
    """Reads a study from a NumPy archive.

    Args:
        file: ``.npz`` with ``mt_signal`` (..., 31) and, for the second stage, ``amide_signal``
            (..., 31); ``t1`` and ``t2`` in ms, ``b0_shift`` in ppm, ``b1_scale``, and if wanted
            ``mask``, all (...).

    Returns:
        The study; without a mask, the voxels with signal in the M0 image. Voxels with a value
        that is not finite, with a negative signal, or without a positive M0, T1 or T2 are left
        out and counted.

    Raises:
        ValueError: an array is missing or has another shape, or relaxation times look like
            seconds; says which and what to do.
    """
    with np.load(file) as arrays:
        content = {name: arrays[name] for name in arrays.files}
    missing = [name for name in ("mt_signal", *MAPS) if name not in content]
    if missing:
        raise ValueError(f"{file} lacks {', '.join(missing)}; see models.cest_mt.study.load_study")
    grid = content["t1"].shape
    signals = {network: content[name] for network, name in SIGNALS.items() if name in content}
    images = {MT_3T.name: MT_3T.images, AMIDE_3T.name: AMIDE_3T.images}
    for network, signal in signals.items():
        if signal.shape != (*grid, images[network]):
            raise ValueError(
                f"{file}: {SIGNALS[network]} has shape {signal.shape}, the maps {grid}: expected "
                f"{(*grid, images[network])}"
            )
    for name in (*MAPS, "mask"):
        if name in content and content[name].shape != grid:
            raise ValueError(f"{file}: {name} has shape {content[name].shape}, t1 has {grid}")
    reference = signals[MT_3T.name][..., 0]
    mask = reference > _LEAST_SIGNAL * np.nanpercentile(reference, 99)
    if "mask" in content:
        mask = content["mask"].astype(bool)
    wanted = int(np.count_nonzero(mask))
    for values in (*signals.values(), *(content[name][..., None] for name in MAPS)):
        mask = mask & np.isfinite(values).all(axis=-1)
    for values in (content["t1"], content["t2"], *(signal[..., 0] for signal in signals.values())):
        mask = mask & (values > 0)
    for signal in signals.values():
        mask = mask & (signal >= 0).all(axis=-1)
    if not mask.any():
        raise ValueError(f"{file} holds no voxel that can be analysed")
    for name in ("t1", "t2"):
        if np.median(content[name][mask]) < MT_3T.conditions[1].lower / 4:
            raise ValueError(f"{file}: {name} looks like seconds; give milliseconds")
    left_out = wanted - int(np.count_nonzero(mask))
    return Study(signals, {name: content[name] for name in MAPS}, mask, {}, left_out)


@dataclass(frozen=True)
class TissueValues:
    """Values of white and of grey matter, in this order, at 3 T.

    Attributes:
        mt_fraction: semisolid proton fraction, %.
        mt_exchange_rate: /s.
        solute_fraction: amide proton fraction, %.
        solute_exchange_rate: /s.
        t1: ms.
        t2: ms.
    """

    mt_fraction: tuple[float, float] = (13.0, 6.0)
    mt_exchange_rate: tuple[float, float] = (28.0, 40.0)
    solute_fraction: tuple[float, float] = (0.22, 0.28)
    solute_exchange_rate: tuple[float, float] = (220.0, 160.0)
    t1: tuple[float, float] = (950.0, 1450.0)
    t2: tuple[float, float] = (70.0, 95.0)


_SPREADS = {
    "mt_fraction": 0.08,
    "mt_exchange_rate": 0.08,
    "solute_fraction": 0.1,
    "solute_exchange_rate": 0.1,
    "t1": 0.04,
    "t2": 0.04,
}
"""Standard deviation of each value within a tissue, relative."""


def simulated_brain(
    shape: tuple[int, int, int], noise: float, seed: int, device: torch.device | str = "cpu"
) -> Study:
    """A head-shaped study of white and grey matter; see :func:`simulated_study`.

    Args:
        shape: slices, rows, columns.
        noise: standard deviation as a share of the voxel's largest image.
        seed: of everything that is drawn.
        device: where it is simulated.

    Returns:
        The study with its truth.
    """
    axes = np.meshgrid(*(np.linspace(-1, 1, size) for size in shape), indexing="ij")
    mask = np.sum(np.square(axes), axis=0) < 0.9
    white = _smooth(np.random.default_rng([seed, 1]), shape, 3) > 0.1
    return simulated_study(white, mask, TissueValues(), noise, seed, device)


def simulated_study(
    white: np.ndarray,
    mask: np.ndarray,
    tissues: TissueValues,
    noise: float,
    seed: int,
    device: torch.device | str = "cpu",
) -> Study:
    """A study of white and grey matter with every map varying in space.

    Each value varies by some percent from voxel to voxel beside the noise of the images, with
    partial volume between the tissues; B0 and B1 vary smoothly.

    Args:
        white: boolean (slices, rows, columns): white matter; the rest is grey matter.
        mask: boolean, same shape: the brain.
        tissues: mean values of both tissues.
        noise: standard deviation as a share of the voxel's largest image.
        seed: of everything that is drawn.
        device: where it is simulated.

    Returns:
        The study with its truth.
    """
    random = np.random.default_rng(seed)
    share = gaussian_filter(white.astype(np.float64), 0.5)

    values = {}
    for name, spread in _SPREADS.items():
        of_white, of_grey = getattr(tissues, name)
        base = share * of_white + (1 - share) * of_grey
        values[name] = base * (1 + spread * _smooth(random, mask.shape, 1.5))
    values["b0_shift"] = 0.08 * _smooth(random, mask.shape, 10)
    values["b1_scale"] = 1 + 0.08 * _smooth(random, mask.shape, 12)
    generator = torch.Generator().manual_seed(seed)
    signals = {}
    for specification in (MT_3T, AMIDE_3T):
        columns = [values[quantity.name][mask] for quantity in specification.varied]
        drawn = torch.from_numpy(np.stack(columns, axis=1).astype(np.float32))
        signal = simulate_values(specification, drawn.to(device)).cpu()
        signal = add_noise(signal, torch.tensor(noise), generator)
        images = np.zeros((*mask.shape, specification.images), np.float32)
        images[mask] = signal.numpy()
        signals[specification.name] = images
    maps = {name: values.pop(name) for name in MAPS}
    return Study(signals, maps, mask, values)


def _smooth(random: np.random.Generator, shape: tuple[int, ...], width: float) -> np.ndarray:
    """A smooth random field of mean 0 and standard deviation 1."""
    field = gaussian_filter(random.standard_normal(shape), width, mode="wrap")
    field -= field.mean()
    return np.asarray(field / field.std())
