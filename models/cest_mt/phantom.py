"""The published 3 T L-arginine phantom: measured signals, published maps, and our table of vials.

``python -m models.cest_mt.phantom DATA/cest_mrf_phantom`` prints how the shipped network compares
with the published maps, vial by vial. Data: github.com/momentum-laboratory/molecular-mrf (MIT),
Vladimirov et al., Nat. Protoc. (2025), doi 10.1038/s41596-025-01152-w. Never trained on.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnxruntime
import scipy.io
import scipy.ndimage
import torch

from models.cest_mt.bundle import NETWORKS
from models.cest_mt.specification import LARGININE_3T
from models.cest_mt.voxelwise_fit import fit_voxels

MILLIMOLAR_PER_PERCENT = 110e3 / 3 / 100
"""Concentration of L-arginine per percent of solute protons: three amine protons, 110 M."""

_CROP = slice(19, -19)
_VIALS = 7


@dataclass(frozen=True)
class Phantom:
    """The voxels of the phantom for which the publication gives values.

    Attributes:
        signal: (voxels, 30) measured, arbitrary scale.
        matched: (voxels, 4) published dictionary match: solute fraction in %, exchange rate
            in 1/s, T1 in ms, T2 in ms.
        dot_product: (voxels,) of the published match.
        network: (voxels, 2) published network: fraction in %, rate in 1/s.
        vial: (voxels,) number of the vial from 1; 0 at the rims.
    """

    signal: np.ndarray
    matched: np.ndarray
    dot_product: np.ndarray
    network: np.ndarray
    vial: np.ndarray


def load_phantom(folder: Path) -> Phantom:
    """Reads the phantom from a checkout's ``dot_prod_example`` and ``deep_reco_example``.

    Args:
        folder: holds both.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: the mask does not hold the seven vials.
    """
    example = folder / "dot_prod_example"
    images = scipy.io.loadmat(example / "data" / "acquired_data3T.mat")["dataToMatch"]
    maps = scipy.io.loadmat(example / "expected_out" / "quant_maps_3T.mat")
    network = scipy.io.loadmat(
        folder / "deep_reco_example" / "expected_out" / "nn_reco_maps_clinical.mat"
    )
    mask = np.load(example / "mask_3T.npy")
    inner = scipy.ndimage.binary_erosion(mask)
    # Two vials touch: their cores are apart, and each inner voxel belongs to the nearest core.
    cores, number = scipy.ndimage.label(scipy.ndimage.binary_erosion(inner))
    if number != _VIALS:
        raise ValueError(f"the mask in {example} holds {number} vials, expected {_VIALS}")
    nearest = scipy.ndimage.distance_transform_edt(
        cores == 0, return_distances=False, return_indices=True
    )
    return Phantom(
        signal=images[:, _CROP][:, mask].T.astype(np.float32),
        matched=np.stack(
            [100 * maps["fs"], maps["ksw"], 1000 * maps["t1w"], 1000 * maps["t2w"]], axis=-1
        )[mask],
        dot_product=maps["dp"][mask],
        network=np.stack([100 * network["fs"], network["ksw"]], axis=-1)[mask],
        vial=(cores[tuple(nearest)] * inner)[mask],
    )


def estimate(signal: np.ndarray) -> dict[str, np.ndarray]:
    """Runs the shipped L-arginine network.

    Args:
        signal: (voxels, 30), any positive scale.

    Returns:
        (voxels,) by name of the output.
    """
    session = onnxruntime.InferenceSession(
        NETWORKS / "larginine_3t" / "model.onnx", providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    answers = session.run(names, {"signal": signal})
    return {name: values[:, 0] for name, values in zip(names, answers, strict=True)}


def agreement(ours: np.ndarray, theirs: np.ndarray) -> tuple[float, float]:
    """Pearson's r, and the root mean square difference over the range of ``theirs``."""
    difference = np.sqrt(np.mean((ours - theirs) ** 2)) / np.ptp(theirs)
    return float(np.corrcoef(ours, theirs)[0, 1]), float(difference)


def vial_means(values: np.ndarray, vial: np.ndarray) -> np.ndarray:
    """(vials,) mean of (voxels,) values over the inner voxels of each vial."""
    return np.array([values[vial == number].mean() for number in range(1, vial.max() + 1)])


def residual(phantom: Phantom, maps: np.ndarray) -> float:
    """Mean residual of the signal in our simulator, with the T1 and T2 that suit maps best.

    Args:
        phantom: what was measured.
        maps: (voxels, 2) fraction in %, rate in 1/s.

    Returns:
        Percent of the signal's norm.
    """
    relaxation_only = replace(
        LARGININE_3T,
        parameters=LARGININE_3T.nuisances,
        nuisances=(),
        conditions=LARGININE_3T.parameters,
    )
    fit = fit_voxels(
        relaxation_only,
        torch.from_numpy(phantom.signal),
        torch.as_tensor(maps, dtype=torch.float64),
        start=torch.as_tensor(phantom.matched[:, 2:], dtype=torch.float64),
        iterations=6,
    )
    return float(fit.residual.mean())


def report(phantom: Phantom) -> str:
    """Our network against both published results, as Markdown tables."""
    found = estimate(phantom.signal)
    ours = np.stack([found[q.name] for q in LARGININE_3T.parameters], axis=1)
    lines = ["| maps | residual of the signal in our simulator % |", "|---|---|"]
    for label, maps in (
        ("ours", ours),
        ("published match", phantom.matched[:, :2]),
        ("published network", phantom.network),
    ):
        lines.append(f"| {label} | {residual(phantom, maps):.4f} |")
    lines.append("")
    quantities = (
        ("solute_fraction", "L-arginine mM", MILLIMOLAR_PER_PERCENT),
        ("solute_exchange_rate", "exchange rate /s", 1.0),
    )
    for column, (name, label, scale) in enumerate(quantities):
        ours, sd = found[name] * scale, found[f"{name}_sd"] * scale
        means = [
            vial_means(values, phantom.vial)
            for values in (
                *(ours, sd),
                *(phantom.matched[:, column] * scale, phantom.network[:, column] * scale),
            )
        ]
        lines += [
            f"| vial | {label}, ours | SD | published match | published network | bias |",
            "|---|---|---|---|---|---|",
        ]
        for number, (mine, spread, match, network) in enumerate(zip(*means, strict=True), 1):
            lines.append(
                f"| {number} | {mine:.1f} | {spread:.1f} | {match:.1f} | {network:.1f} "
                f"| {mine - match:+.1f} |"
            )
        for other, values in (("match", phantom.matched), ("network", phantom.network)):
            theirs = values[:, column] * scale
            r, nrmse = agreement(ours, theirs)
            vial_r, vial_nrmse = agreement(
                vial_means(ours, phantom.vial), vial_means(theirs, phantom.vial)
            )
            lines.append(
                f"\nAgainst the published {other}: voxels r {r:.3f}, NRMSE {100 * nrmse:.1f} %; "
                f"vials r {vial_r:.3f}, NRMSE {100 * vial_nrmse:.1f} %."
            )
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(report(load_phantom(Path(sys.argv[1]))))
