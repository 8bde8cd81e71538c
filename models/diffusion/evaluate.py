"""Every figure of the model card: ``python -m models.diffusion.evaluate``.

Real data: ``dwi_multishell_human`` (never trained or tuned on) and ``dwi_philips_classic`` (never
trained on). Simulated data: random slabs of seeds that training does not use. AMICO's figures
are printed by ``tests/peers/test_sparse_diffusion.py``, since its licence keeps it out of here.
"""

# ruff: noqa: T201 - a command that prints its figures
from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from models.diffusion.adapt import AdaptationSettings, Adapted, adapt
from models.diffusion.channels import mandel_to_tensor
from models.diffusion.degradation import LARGEST_LOG_SIGNAL
from models.diffusion.evaluation_series import (
    best_subset,
    human_series,
    philips_series,
    simulated_series,
)
from models.diffusion.kurtosis_fit import KurtosisLeastSquares, design_matrix
from models.diffusion.multi_shell import adapt_shells
from models.diffusion.noddi_fit import NoddiGaussNewton
from models.diffusion.posterior import tensor_maps
from models.diffusion.prior import NETWORKS, RunNetwork, onnx_network
from models.diffusion.references import (
    WHITE_MATTER_FA,
    adaptation,
    as_dipy,
    errors,
    errors_of_truth,
    inside_rim,
    predicted_by_kurtosis,
    scalars,
)
from models.diffusion.scalars import fractional_anisotropy
from models.diffusion.series import Series
from models.diffusion.signal import dki_signal, tensor_basis
from models.diffusion.signal_design import log_design
from models.diffusion.tensor_fit import TensorLeastSquares
from models.diffusion.training_maps import load_anatomies

_ROOT = Path(__file__).resolve().parents[2]
_LESION_RADIUS = 4


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m models.diffusion.evaluate", description=__doc__
    )
    parser.add_argument("--network", type=Path, default=NETWORKS / "prior_dti" / "model.onnx")
    parser.add_argument(
        "--data", type=Path, default=os.environ.get("QUANTMAP_DATA", _ROOT.parent / "shared/data")
    )
    parser.add_argument("--threads", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    run = onnx_network(arguments.network, arguments.threads)
    data = Path(arguments.data)
    human = human_series(data)
    print("## Sparse tensor, dwi_multishell_human: 1 b0 + N directions of b = 1000")
    sparse(human, 1000, (6, 10, 15, 30), run)
    print("\n## Sparse tensor, dwi_philips_classic: 1 b0 + N directions of b = 2000")
    sparse(philips_series(data), 2000, (6, 10), run)
    print("\n## Sparse tensor, simulated: 1 b0 + N directions of b = 1000")
    simulated(data, run)
    print("\n## Lesions: sphere of 4 voxels radius in dwi_multishell_human")
    lesions(human, run)
    print("\n## Held-out prediction and NODDI: 1 b0 + 10 (b 1000) + 10 (b 2000)")
    held_out(human, run)
    print("\n## Prior weight 0")
    weight_zero(human, run)


def sparse(series: Series, b: float, numbers: tuple[int, ...], run: RunNetwork) -> None:
    """Errors of the plain and the adapted fit of sparse subsets, against dense fits."""
    low = np.flatnonzero(series.b_values <= b)
    full = scalars(adaptation(series, low).plain)
    white = full[0] > WHITE_MATTER_FA
    print(
        "N | reference | fit | FA MAE | MD MAE (1e-3) | MD MAE with signal | MD MAE tissue | "
        "V1 angle WM (deg)"
    )
    for number in numbers:
        chosen = best_subset(series, number, b)
        rest = np.setdiff1d(low, chosen)
        problem = adaptation(series, chosen)
        adapted = adapt(problem, run)
        fits = {"plain": scalars(problem.plain), "adapted": scalars(adapted.channels)}
        supported = ~adapted.unsupported.numpy()
        references = {"all volumes": full}
        if len(rest) >= 20:
            references["the other volumes"] = scalars(adaptation(series, rest).plain)
        left = np.setdiff1d(np.arange(len(series.b_values)), chosen)
        # Kurtosis needs two shells besides b = 0.
        with_kurtosis = np.unique(series.b_values[left]).size > 2
        if with_kurtosis:
            dense = predicted_by_kurtosis(series, left, low)
            references["all that are left, with kurtosis"] = scalars(
                adaptation(dense, np.arange(len(low))).plain
            )
        references["all, as DIPY fits them"] = as_dipy(series, low)
        for name, reference in references.items():
            for fit, found in fits.items():
                values = errors(found, reference, white)
                with_signal = np.abs(found[1] - reference[1])[supported].mean()
                print(
                    f"{number} | {name} | {fit} | {values[0]:.4f} | {values[1]:.4f} | "
                    f"{with_signal:.4f} | {values[2]:.4f} | {values[3]:.2f}"
                )
        print(f"{number} | voxels without signal: {(~supported).sum()} of {len(supported)}")
        if series.b_values[left].max() > b:
            # Other b give other scalars, but the same direction of fastest diffusion.
            reference = scalars(adaptation(series, left).plain)
            angles = [errors(found, reference, white)[3] for found in fits.values()]
            print(f"{number} | all volumes left | V1 angle: {angles[0]:.2f} -> {angles[1]:.2f}")
        if number < np.count_nonzero(series.b_values == b):
            before = left_out_error(series, chosen, problem.plain, problem.reference)
            after = left_out_error(series, chosen, adapted.channels, problem.reference)
            print(f"{number} | RMSE on the shell's other volumes: {before:.2f} -> {after:.2f}")
        if with_kurtosis:
            inner = inside_rim(series.brain)
            reference = references["the other volumes"]
            before, after = (
                float(np.abs(found[0] - reference[0])[inner].mean()) for found in fits.values()
            )
            print(
                f"{number} | the other volumes, without the rim ({inner.mean():.1%} of the mask) | "
                f"FA MAE: {before:.4f} -> {after:.4f}"
            )
            for where, voxels in (("", None), (", without the rim", inner)):
                plain, truth = errors_of_truth(series, number, b, voxels)
                print(
                    f"{number} | simulated, against the other volumes{where}: plain FA "
                    f"{plain[0]:.4f}, MD {plain[1]:.4f}; the noise-free truth itself FA "
                    f"{truth[0]:.4f}, MD {truth[1]:.4f}"
                )


def left_out_error(series: Series, chosen: np.ndarray, channels: Tensor, reference: float) -> float:
    """RMSE of the signal that maps predict for volumes of the shell that they were not fitted to.

    No other fit is needed, and the noise of what is predicted favours none.

    Args:
        series: what was measured.
        chosen: indices of the volumes that the maps were fitted to, of one shell.
        channels: (voxels, 7) of the fit.
        reference: signal by which ln S0 is relative, in the unit of the signals.

    Returns:
        in the unit of the signals.
    """
    b = series.b_values[chosen].max()
    left = np.setdiff1d(np.flatnonzero(series.b_values == b), chosen)
    design = log_design(series.b_values[left], series.directions[left])
    predicted = torch.exp((channels @ torch.as_tensor(design).T).clamp(max=LARGEST_LOG_SIGNAL))
    measured = series.signals[series.brain][:, left]
    return float(np.sqrt(np.mean((reference * predicted.numpy() - measured) ** 2)))


def simulated(data: Path, run: RunNetwork) -> None:
    """Errors against the noise-free fit, and how often they fall within one SD."""
    print(
        "noise | neighbours | N | fit | FA MAE | MD MAE (1e-3) | V1 angle WM (deg) | "
        "FA within 1 SD | MD within 1 SD | noise found"
    )
    anatomies = load_anatomies(data)
    cases = [(sigma, 0.0, number) for sigma in (0.02, 0.03, 0.05) for number in (6, 10, 30)]
    cases += [(0.03, neighbours, number) for neighbours in (0.15, 0.3) for number in (6, 10, 30)]
    for sigma, neighbours, number in cases:
        rows = []
        for seed in range(3):
            noisy, clean = simulated_series(anatomies, seed, sigma, neighbours)
            truth = scalars(adaptation(clean, np.arange(len(clean.b_values))).plain)
            problem = adaptation(noisy, best_subset(noisy, number, 1000))
            adapted = adapt(problem, run)
            found = float(adapted.noise.median()) / sigma
            white = truth[0] > WHITE_MATTER_FA
            fits = [errors(scalars(x), truth, white) for x in (problem.plain, adapted.channels)]
            rows.append((*fits[0], *fits[1], *_calibration(adapted, truth), found))
        case = f"{sigma} | {neighbours} | {number}"
        values = np.mean(rows, axis=0)
        for fit, (fa, md, _, angle) in (("plain", values[:4]), ("adapted", values[4:8])):
            shares = " | ".join(f"{v:.2f}" for v in values[8:]) if fit == "adapted" else "| |"
            print(f"{case} | {fit} | {fa:.4f} | {md:.4f} | {angle:.2f} | {shares}")


def _calibration(
    adapted: Adapted, truth: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> tuple[float, float]:
    maps = tensor_maps(adapted)
    fa_error = np.abs(fractional_anisotropy(maps.eigenvalues).numpy() - truth[0])
    md_error = np.abs(maps.eigenvalues.mean(dim=1).numpy() * 1e3 - truth[1])
    return (
        float((fa_error <= maps.anisotropy_sd.numpy()).mean()),
        float((md_error <= maps.mean_diffusivity_sd.numpy() * 1e3).mean()),
    )


def lesions(series: Series, run: RunNetwork) -> None:
    """How much of the contrast in MD of an inserted lesion the adapted fit keeps."""
    low = np.flatnonzero(series.b_values <= 1000)
    full = adaptation(series, low).plain
    print("factor of ADC | N | contrast kept by plain | by adapted")
    for factor in (0.6, 1.6):
        for number in (6, 10, 15, 30):
            kept = []
            chosen = best_subset(series, number, 1000)
            before = [scalars(x)[1] for x in _fits(series, chosen, run)]
            for centre in _centres(series, scalars(full)[1]):
                inside, changed = with_lesion(series, full, centre, factor)
                after = [scalars(x)[1] for x in _fits(changed, chosen, run)]
                true = (factor - 1) * scalars(full)[1][inside].mean()
                kept.append(
                    [
                        (a[inside].mean() - b[inside].mean()) / true
                        for a, b in zip(after, before, strict=True)
                    ]
                )
            plain, adapted = np.mean(kept, axis=0)
            print(f"{factor} | {number} | {plain:.3f} | {adapted:.3f}")


def _fits(series: Series, chosen: np.ndarray, run: RunNetwork) -> tuple[Tensor, Tensor]:
    problem = adaptation(series, chosen)
    return problem.plain, adapt(problem, run).channels


def _centres(series: Series, diffusivity: np.ndarray) -> list[tuple[int, int, int]]:
    """Two voxels a slice around which all is tissue, far apart."""
    tissue = np.zeros(series.brain.shape, dtype=bool)
    tissue[series.brain] = (diffusivity > 0.4) & (diffusivity < 1.1)
    row, column = np.mgrid[
        -_LESION_RADIUS : _LESION_RADIUS + 1, -_LESION_RADIUS : _LESION_RADIUS + 1
    ]
    disc = np.hypot(row, column) <= _LESION_RADIUS
    found = []
    for index, plane in enumerate(tissue):
        best: list[tuple[float, int, int]] = []
        for r in range(8, plane.shape[0] - 8):
            for c in range(8, plane.shape[1] - 8):
                window = plane[r - 4 : r + 5, c - 4 : c + 5]
                best.append((float(window[disc].mean()), r, c))
        best.sort(key=lambda entry: -entry[0])
        first = best[0]
        far = next(b for b in best if np.hypot(b[1] - first[1], b[2] - first[2]) > 20)
        found += [(index, first[1], first[2]), (index, far[1], far[2])] if first[0] > 0.9 else []
    return found


def with_lesion(
    series: Series, channels: Tensor, centre: tuple[int, int, int], factor: float
) -> tuple[np.ndarray, Series]:
    """Voxels of a ball within the brain, and the series with their diffusion multiplied."""
    grid = np.indices(series.brain.shape)
    distance = np.sqrt(sum((g - c) ** 2 for g, c in zip(grid, centre, strict=True)))
    inside = (distance <= _LESION_RADIUS)[series.brain]
    tensor = torch.as_tensor(mandel_to_tensor(channels[:, 1:7].numpy()))[inside]
    attenuation = tensor @ tensor_basis(torch.as_tensor(series.directions)).T.double()
    attenuation = attenuation * torch.as_tensor(series.b_values) * 1e-3
    values = series.signals[series.brain]
    values[inside] *= np.exp(-(factor - 1) * attenuation.numpy())
    signals = series.signals.copy()
    signals[series.brain] = values
    return inside, replace(series, signals=signals)


def held_out(series: Series, run: RunNetwork) -> None:
    """Prediction of the weighted volumes left out, and NODDI against the fit of all volumes."""
    one, two = (best_subset(series, 10, b) for b in (1000, 2000))
    used = np.concatenate((one, two[1:]))
    signals = series.signals[series.brain]
    left = np.setdiff1d(np.flatnonzero(series.b_values > 50), used)
    b, g = series.b_values[left], series.directions[left]
    adapted = adapt_shells(
        series.signals[..., used],
        series.brain,
        series.b_values[used],
        series.directions[used],
        tuple(series.voxel.tolist()),
        run,
    )

    def rmse(predicted: Tensor | np.ndarray) -> float:
        return float(np.sqrt(np.mean((np.asarray(predicted) - signals[:, left]) ** 2)))

    kurtosis = adapted.kurtosis()
    predicted = dki_signal(
        kurtosis.s0, kurtosis.tensor, kurtosis.kurtosis, torch.as_tensor(b), torch.as_tensor(g)
    )
    plain = _minimum_norm_kurtosis(series, signals, used, left)
    print(f"RMSE, adapted shells: {rmse(adapted.predict(b, g)):.2f}")
    print(f"RMSE, adapted, kurtosis: {rmse(predicted):.2f}")
    print(f"RMSE, least-squares kurtosis (21 volumes, 22 unknowns: least norm): {rmse(plain):.2f}")
    full = NoddiGaussNewton(series.b_values, series.directions).fit(torch.from_numpy(signals))
    sparse_fit = NoddiGaussNewton(series.b_values[used], series.directions[used]).fit(
        torch.from_numpy(signals[:, used])
    )
    mine = adapted.noddi()
    dense = KurtosisLeastSquares(series.b_values, series.directions).fit(torch.from_numpy(signals))
    print("map | MAE plain | MAE adapted (each against its own fit of all volumes)")
    for name in ("ndi", "odi", "fwf"):
        reference = getattr(full, name)
        values = [float((getattr(f, name) - reference).abs().mean()) for f in (sparse_fit, mine)]
        print(f"{name} | {values[0]:.4f} | {values[1]:.4f}")
    for name in ("mean_kurtosis", "axial_kurtosis", "radial_kurtosis"):
        value = float((getattr(kurtosis, name) - getattr(dense, name)).abs().mean())
        print(f"{name} | not determined | {value:.4f}")


def _minimum_norm_kurtosis(
    series: Series, signals: np.ndarray, used: np.ndarray, left: np.ndarray
) -> np.ndarray:
    design = design_matrix(series.b_values / 1e3, series.directions)
    logarithm = np.log(np.maximum(signals[:, used], 1.0))
    solution = logarithm @ np.linalg.pinv(design[used]).T
    return np.exp((solution @ design[left].T).clip(max=10))


def weight_zero(series: Series, run: RunNetwork) -> None:
    """Largest difference of prior weight 0 from the plain weighted fit."""
    chosen = best_subset(series, 10, 1000)
    found = adapt(adaptation(series, chosen), run, AdaptationSettings(prior_weight=0.0))
    fit = TensorLeastSquares(series.b_values[chosen], series.directions[chosen]).fit(
        torch.from_numpy(series.signals[series.brain][:, chosen])
    )
    tensor = mandel_to_tensor(found.channels[:, 1:7].numpy())
    usable = ~fit.unweighted.numpy()
    difference = np.abs(tensor - fit.tensor.numpy() * 1e3)[usable]
    print(f"tensor elements, um2/ms: largest difference {difference.max():.2e}")


if __name__ == "__main__":
    main()
