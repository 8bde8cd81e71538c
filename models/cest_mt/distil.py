"""Makes a trained estimator narrower, so that whole brains pass through it in half the time.

``python -m models.cest_mt.distil mt_3t --wide FOLDER`` teaches the network of the specification's
width what the wide one in ``FOLDER`` (made by ``train --width 256``) answers: its means and
standard deviations, for simulated voxels with noise. As these answers hold no noise of their
own, little training is needed, and as fresh signals come from the surrogate, no simulation.
Both are then evaluated on held-out voxels of the simulator.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import Tensor

from models.cest_mt import bundle
from models.cest_mt.evaluation import draw_loss, draw_scatter, held_out_figures, table
from models.cest_mt.network import ParameterNetwork
from models.cest_mt.optimisation import TrainingLog, TrainingSettings, optimise
from models.cest_mt.preparation import EVALUATION_NOISE, held_out_batches
from models.cest_mt.progress import progress_bar
from models.cest_mt.specification import AMIDE_3T, MT_3T, SPECIFICATIONS
from models.cest_mt.specification import NetworkSpecification as Specification
from models.cest_mt.training import FingerprintBatches
from models.cest_mt.training_set import VoxelSet, draw_values

_GOLDEN_VOXELS = 64


def divergence(wide: tuple[Tensor, Tensor], mean: Tensor, sd: Tensor) -> Tensor:
    """Mean Kullback-Leibler divergence of Gaussians from those of the wide network.

    Args:
        wide: mean and standard deviation, each (voxels, estimated).
        mean: of the narrow network, same shape.
        sd: same shape.
    """
    wide_mean, wide_sd = wide
    spread = (wide_sd.square() + (wide_mean - mean).square()) / (2 * sd.square())
    return (sd.log() - wide_sd.log() + spread - 0.5).mean()


def distil(
    wide: ParameterNetwork,
    specification: Specification,
    batches: FingerprintBatches,
    voxels: int,
    settings: TrainingSettings,
    checkpoint: Path | None = None,
) -> tuple[ParameterNetwork, TrainingLog]:
    """A network of the specification's width that answers as the wide one does.

    Args:
        wide: trained.
        specification: of the narrow network.
        batches: noisy measurements of simulated voxels.
        voxels: how many there are to choose from.
        settings: of the optimiser.
        checkpoint: where the state is kept.
    """
    torch.manual_seed(settings.seed)
    network = ParameterNetwork(specification, wide.signal_mean, wide.signal_sd)

    def loss(rows: Tensor, generator: torch.Generator, _share: float) -> Tensor:
        batch = batches(rows, generator)
        with torch.no_grad():
            answer = wide(batch.signal, batch.conditions)
        return divergence(answer, *network(batch.signal, batch.conditions))

    with progress_bar(f"{specification.name}, {specification.width} wide", settings.steps) as bar:
        log = optimise(network, loss, voxels, settings, checkpoint, bar)
    return network, log


def surrogate_batches(
    specification: Specification, voxels: int, seed: int, first_stage: ParameterNetwork | None
) -> FingerprintBatches:
    """Noisy batches of voxels of which the shipped surrogates give the signals."""
    values = draw_values(specification, voxels, seed)
    stage = None
    if first_stage is not None:
        names = [quantity.name for quantity in specification.varied]
        columns = [names.index(quantity.name) for quantity in MT_3T.varied]
        stage = (first_stage, _surrogate_signal(MT_3T, values[:, columns]))
    return FingerprintBatches(
        VoxelSet(values, _surrogate_signal(specification, values)), specification, stage
    )


def _surrogate_signal(specification: Specification, values: Tensor) -> Tensor:
    surrogate = bundle.load_signal_network(specification)
    with torch.no_grad():
        return torch.cat([surrogate(part) for part in values.split(8192)])


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line; see ``--help``."""
    parser = argparse.ArgumentParser(
        prog="python -m models.cest_mt.distil",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("network", choices=(MT_3T.name, AMIDE_3T.name))
    parser.add_argument(
        "--wide", type=Path, required=True, help="folder with the wide network's bundle"
    )
    parser.add_argument("--wide-width", type=int, default=256)
    parser.add_argument(
        "--output", type=Path, default=Path("build/cest_mt"), help="folder for all that is made"
    )
    parser.add_argument("--voxels", type=int, default=400_000)
    parser.add_argument("--held-out", type=int, default=20_000, help="voxels to evaluate on")
    parser.add_argument("--steps", type=int, default=5_000)
    parser.add_argument("--batch", type=int, default=512, help="voxels per step")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument(
        "--install", action="store_true", help="copy the bundle into models/cest_mt/networks"
    )
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    specification = SPECIFICATIONS[options.network]
    folder = options.output / specification.name
    folder.mkdir(parents=True, exist_ok=True)
    wide = bundle.load_parameter_network(
        replace(specification, width=options.wide_width), options.wide
    )
    first_stage = None
    if specification.name == AMIDE_3T.name:
        first_stage = bundle.load_parameter_network(MT_3T, options.output / MT_3T.name)
    settings = TrainingSettings(
        steps=options.steps, batch=options.batch, seed=options.seed, weight_decay=0.0
    )
    batches = surrogate_batches(specification, options.voxels, options.seed, first_stage)
    network, log = distil(
        wide, specification, batches, options.voxels, settings, folder / "narrow.checkpoint"
    )
    draw_loss(log, folder / "narrow_loss.png", "divergence from the wide network")

    held_out, noisy = held_out_batches(
        specification, options.held_out, options.seed, first_stage, options.output / "simulated"
    )
    generator = torch.Generator().manual_seed(options.seed)
    signal, conditions, _, _ = noisy(torch.arange(len(held_out)), generator)
    with torch.no_grad():
        mean, sd = network.physical(signal, conditions)
        wide_mean, wide_sd = wide.physical(signal, conditions)
    rows = held_out_figures(
        specification,
        held_out.values,
        [("network", mean, sd), ("wide network", wide_mean, wide_sd)],
    )
    truth = held_out.values[:, : len(specification.parameters)]
    draw_scatter(specification.parameters, truth, mean, sd, folder / "narrow_scatter.png")
    (folder / "narrow_figures.md").write_text(table(rows) + "\n", encoding="utf-8")
    sys.stdout.write(table(rows) + "\n")
    taught_by = json.loads(
        (options.wide / specification.name / "metadata.json").read_text(encoding="utf-8")
    )
    content = bundle.parameter_bundle(
        network,
        signal[:_GOLDEN_VOXELS],
        conditions[:_GOLDEN_VOXELS],
        {
            "command": f"python -m models.cest_mt.distil {specification.name} --wide FOLDER "
            f"--wide-width {options.wide_width} --voxels {options.voxels} --steps {options.steps} "
            f"--batch {options.batch} --seed {options.seed}",
            "settings": asdict(settings),
            f"held_out_at_{100 * EVALUATION_NOISE:g}_percent_noise": [
                {"estimate": label, **asdict(row)} for label, row in rows
            ],
            "wide": {"sha256": taught_by["model"]["sha256"], **taught_by["training"]},
        },
    )
    for parent in (folder, bundle.NETWORKS) if options.install else (folder,):
        bundle.save(content, parent / specification.name)


if __name__ == "__main__":
    main()
