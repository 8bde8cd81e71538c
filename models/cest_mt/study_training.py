"""Both stages of train-by-fit on one study: semisolid pool, then amide with it frozen."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from models.cest_mt import bundle
from models.cest_mt.evaluation import Figures, draw_loss, draw_maps, figures, table
from models.cest_mt.network import ParameterNetwork
from models.cest_mt.optimisation import TrainingSettings
from models.cest_mt.progress import progress_bar
from models.cest_mt.residual import relative_residual
from models.cest_mt.self_supervised import (
    StudyNetwork,
    StudyVoxels,
    calibrate,
    estimate_study,
    fresh_network,
    learn_study,
)
from models.cest_mt.specification import AMIDE_3T, MT_3T, NetworkSpecification
from models.cest_mt.study import Study
from models.cest_mt.training_set import simulate_values
from models.cest_mt.voxelwise_fit import fit_voxels

_GOLDEN_VOXELS = 64


@dataclass(frozen=True)
class StageReport:
    """What one stage reached.

    Attributes:
        name: of the network.
        seconds: wall time of the training alone.
        residual: mean residual of the network's maps over the compared voxels, percent.
        fit_residual: the same of the voxelwise fit.
        noise: noise level found, percent of the voxel's largest image.
        sd_factors: what the standard deviations were multiplied with.
        against_truth: figures where the study was simulated.
    """

    name: str
    seconds: float
    residual: float
    fit_residual: float
    noise: float
    sd_factors: tuple[float, ...]
    against_truth: tuple[Figures, ...]

    def text(self) -> str:
        """The report for people."""
        lines = [
            f"{self.name}: trained in {self.seconds:.0f} s; residual {self.residual:.3f} %, "
            f"voxelwise fit {self.fit_residual:.3f} % (ratio "
            f"{self.residual / self.fit_residual:.3f}); noise {self.noise:.2f} %; SD scaled by "
            + ", ".join(f"{factor:.2f}" for factor in self.sd_factors)
        ]
        if self.against_truth:
            lines.append(table([("network", row) for row in self.against_truth]))
        return "\n".join(lines)


def train_on_study(
    study: Study,
    output: Path,
    settings: TrainingSettings,
    refine: bool = False,
    compared_voxels: int = 500,
    command: str = "",
    device: torch.device | str = "cpu",
) -> list[StageReport]:
    """Trains the networks of a study and leaves bundles, maps and pictures in a folder.

    Args:
        study: measured or simulated.
        output: a folder of its own per study; an interrupted training continues from there.
        settings: of the optimiser, for both stages.
        refine: begin with the shipped networks instead of fresh ones.
        compared_voxels: how many are fitted one by one for comparison.
        command: for the metadata.
        device: where networks are trained and voxels are fitted.

    Returns:
        A report for each stage.
    """
    reports = []
    estimates: dict[str, np.ndarray] = {}
    for specification in (MT_3T, AMIDE_3T):
        if specification.name not in study.signals:
            continue
        folder = output / specification.name
        folder.mkdir(parents=True, exist_ok=True)
        voxels = study.voxels(specification, estimates)
        network = StudyNetwork(
            bundle.load_parameter_network(specification)
            if refine
            else _seeded_network(specification, voxels, settings.seed)
        ).to(device)
        voxels = voxels.to(device)
        began = time.perf_counter()
        with progress_bar(f"{specification.name} on the study", settings.steps) as progress:
            log = learn_study(network, voxels, settings, folder / "study.checkpoint", progress)
        seconds = time.perf_counter() - began
        draw_loss(log, folder / "loss.png", "negative bound per voxel")

        generator = torch.Generator().manual_seed(settings.seed)
        rows = torch.randperm(len(voxels), generator=generator)[:compared_voxels].to(device)
        compared = StudyVoxels(voxels.signal[rows], voxels.conditions[rows])
        mean, _ = estimate_study(network, compared)
        fit = fit_voxels(specification, compared.signal, compared.conditions)
        noise = _noise_level(specification, compared, fit.residual)
        factors = calibrate(network, voxels, noise, settings.seed)
        estimates |= _maps(network, voxels, study.mask)
        residual = _residual(specification, compared, mean)
        reports.append(
            StageReport(
                name=specification.name,
                seconds=seconds,
                residual=residual,
                fit_residual=float(fit.residual.mean()),
                noise=100 * noise,
                sd_factors=tuple(factors.tolist()),
                against_truth=_against_truth(specification, study, estimates),
            )
        )
        golden = slice(_GOLDEN_VOXELS)
        bundle.save(
            bundle.parameter_bundle(
                network.estimator.cpu(),
                voxels.signal[golden].cpu(),
                voxels.conditions[golden].cpu(),
                {"command": command, "settings": asdict(settings), "refined": refine}
                | {"report": asdict(reports[-1])},
                data_source="one study, self-supervised",
            ),
            folder / specification.name,
        )
        draw_maps(specification.parameters, estimates, folder / "maps.png")
    np.savez_compressed(output / "maps.npz", allow_pickle=False, **estimates)
    return reports


def _seeded_network(
    specification: NetworkSpecification, voxels: StudyVoxels, seed: int
) -> ParameterNetwork:
    torch.manual_seed(seed)
    return fresh_network(specification, voxels)


def _noise_level(
    specification: NetworkSpecification, voxels: StudyVoxels, residual: torch.Tensor
) -> float:
    """Noise as a share of the largest image, from what the voxelwise fit leaves."""
    freedom = specification.images - 1 - len(specification.estimated)
    norm = voxels.signal.square().sum(dim=1).sqrt() / voxels.signal.amax(dim=1)
    left = residual.float() / 100 * norm
    return float((left.square().mean() / freedom).sqrt())


def _residual(
    specification: NetworkSpecification, voxels: StudyVoxels, estimate: torch.Tensor
) -> float:
    simulated = simulate_values(specification, torch.cat([estimate, voxels.conditions], dim=1))
    return float(relative_residual(voxels.signal.cpu().numpy(), simulated.cpu().numpy()).mean())


def _maps(network: StudyNetwork, voxels: StudyVoxels, mask: np.ndarray) -> dict[str, np.ndarray]:
    means, sds = estimate_study(network, voxels)
    maps = {}
    for column, quantity in enumerate(network.estimator.specification.parameters):
        for name, values in ((quantity.name, means), (f"{quantity.name}_sd", sds)):
            maps[name] = np.zeros(mask.shape, np.float32)
            maps[name][mask] = values[:, column].cpu().numpy()
    return maps


def _against_truth(
    specification: NetworkSpecification, study: Study, estimates: dict[str, np.ndarray]
) -> tuple[Figures, ...]:
    return tuple(
        figures(
            quantity,
            *(
                torch.from_numpy(values[study.mask]).float()
                for values in (
                    study.truth[quantity.name],
                    estimates[quantity.name],
                    estimates[f"{quantity.name}_sd"],
                )
            ),
        )
        for quantity in specification.parameters
        if quantity.name in study.truth
    )
