"""Trains, evaluates and exports the CEST/MT networks.

``python -m models.cest_mt.train mt_3t`` trains on simulated voxels and leaves the bundle, the
loss curve, the scatter picture and the table of figures under ``--output``; with ``--install``
the bundle goes into the project.

``python -m models.cest_mt.train --study study.npz`` trains on one measured study without labels
(see ``study.py`` for the file), with ``--refine`` beginning from the shipped networks;
``--simulated-study SLICES ROWS COLUMNS`` does so on a simulated brain with 1 % noise.

An interrupted run continues when started again.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from models.cest_mt import bundle
from models.cest_mt.dictionary import GRIDS, build_dictionary, match
from models.cest_mt.evaluation import Figures, draw_loss, draw_scatter, figures, table
from models.cest_mt.network import ParameterNetwork, SignalNetwork
from models.cest_mt.progress import progress_bar
from models.cest_mt.specification import AMIDE_3T, BRAIN, MT_3T, SPECIFICATIONS
from models.cest_mt.specification import NetworkSpecification as Specification
from models.cest_mt.study import load_study, simulated_brain
from models.cest_mt.study_training import train_on_study
from models.cest_mt.training import (
    NOISE_RANGE,
    FingerprintBatches,
    TrainingSettings,
    signal_statistics,
    train_parameter_network,
    train_signal_network,
)
from models.cest_mt.training_set import VoxelSet, draw_values, simulated_set

_HELD_OUT_SEED = 10_000
_NOISE = 0.01
_GOLDEN_VOXELS = 64


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line; see ``--help``."""
    parser = argparse.ArgumentParser(
        prog="python -m models.cest_mt.train",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "network", nargs="?", choices=sorted(SPECIFICATIONS), help="train it on simulated voxels"
    )
    parser.add_argument("--study", type=Path, help="train on this measured study (.npz)")
    parser.add_argument(
        "--simulated-study", type=int, nargs=3, metavar=("SLICES", "ROWS", "COLUMNS")
    )
    parser.add_argument("--refine", action="store_true", help="begin with the shipped networks")
    parser.add_argument(
        "--output", type=Path, default=Path("build/cest_mt"), help="folder for all that is made"
    )
    parser.add_argument("--voxels", type=int, default=400_000, help="simulated training voxels")
    parser.add_argument("--held-out", type=int, default=20_000, help="voxels to evaluate on")
    parser.add_argument(
        "--steps", type=int, help="steps of the estimator (8000; on a study 800, refining 200)"
    )
    parser.add_argument("--signal-steps", type=int, default=8_000, help="steps of the surrogate")
    parser.add_argument("--seed", type=int, default=1, help="of voxels, weights and noise")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument(
        "--no-dictionary", action="store_true", help="skip the comparison with matching"
    )
    parser.add_argument(
        "--install", action="store_true", help="copy the bundles into models/cest_mt/networks"
    )
    options = parser.parse_args(arguments)
    chosen = [options.network, options.study, options.simulated_study]
    if sum(choice is not None for choice in chosen) != 1:
        parser.error("give one of: a network, --study FILE, --simulated-study")
    torch.set_num_threads(options.threads)
    if options.network is None:
        _learn_study(options)
    else:
        options.steps = options.steps or 8_000
        _train_all(_prepare(SPECIFICATIONS[options.network], options))


def _learn_study(options: argparse.Namespace) -> None:
    if options.study is not None:
        study, source = load_study(options.study), f"--study {options.study.name}"
        output = options.output / options.study.stem
    else:
        shape = tuple(options.simulated_study)
        study = simulated_brain(shape, _NOISE, options.seed)
        source = "--simulated-study " + " ".join(map(str, shape))
        output = options.output / "simulated_study"
    steps = options.steps or (200 if options.refine else 800)
    settings = TrainingSettings(
        steps=steps,
        batch=512,
        learning_rate=5e-4 if options.refine else 1e-3,
        seed=options.seed,
        log_every=25,
        patience=6,
    )
    output = output / ("refined" if options.refine else "fresh")
    command = f"python -m models.cest_mt.train {source} --steps {steps} --seed {options.seed}"
    reports = train_on_study(
        study, output, settings, options.refine, command=command + " --refine" * options.refine
    )
    text = f"{int(study.mask.sum())} voxels\n\n" + "\n\n".join(r.text() for r in reports) + "\n"
    (output / "figures.md").write_text(text, encoding="utf-8")
    print(text)


@dataclass
class _Run:
    """Everything that one training needs.

    Attributes:
        specification: of the network.
        options: of the command line.
        folder: for checkpoints, pictures and figures.
        training: voxels to train on.
        held_out: voxels to evaluate on.
        batches: noisy batches of ``training``, noise of random level.
        noisy: noisy batches of ``held_out``, 1 % noise.
    """

    specification: Specification
    options: argparse.Namespace
    folder: Path
    training: VoxelSet
    held_out: VoxelSet
    batches: FingerprintBatches
    noisy: FingerprintBatches


def _prepare(specification: Specification, options: argparse.Namespace) -> _Run:
    first_stage = _first_stage(specification, options.output)
    folder = options.output / specification.name
    folder.mkdir(parents=True, exist_ok=True)
    cache = options.output / "simulated"
    training, held_out = (
        _simulated(specification, draw_values(specification, voxels, seed), cache)
        for voxels, seed in (
            (options.voxels, options.seed),
            (options.held_out, options.seed + _HELD_OUT_SEED),
        )
    )
    return _Run(
        specification,
        options,
        folder,
        training,
        held_out,
        _batches(specification, training, first_stage, cache, NOISE_RANGE),
        _batches(specification, held_out, first_stage, cache, (_NOISE, _NOISE)),
    )


def _train_estimator(run: _Run, settings: TrainingSettings) -> ParameterNetwork:
    torch.manual_seed(settings.seed)
    network = ParameterNetwork(run.specification, *signal_statistics(run.training.signal, True))
    with progress_bar(f"{run.specification.name} estimator", settings.steps) as progress:
        log = train_parameter_network(
            network,
            run.batches,
            len(run.training),
            settings,
            run.folder / "estimator.checkpoint",
            progress,
        )
    draw_loss(log, run.folder / "estimator_loss.png", "negative log-likelihood")
    torch.save(network.state_dict(), run.folder / "estimator.pt")
    return network


def _train_surrogate(run: _Run, settings: TrainingSettings) -> SignalNetwork:
    torch.manual_seed(settings.seed)
    network = SignalNetwork(run.specification, *signal_statistics(run.training.signal, False))
    with progress_bar(f"{run.specification.name} signal surrogate", settings.steps) as progress:
        log = train_signal_network(
            network, run.training, settings, run.folder / "signal.checkpoint", progress
        )
    draw_loss(log, run.folder / "signal_loss.png", "mean square error / variance")
    return network


def _train_all(run: _Run) -> None:
    """Trains both networks, evaluates them on the held-out voxels and writes the bundles."""
    specification, options = run.specification, run.options
    settings = TrainingSettings(steps=options.steps, seed=options.seed)
    signal_settings = TrainingSettings(
        steps=options.signal_steps, seed=options.seed, weight_decay=0.0
    )
    estimator = _train_estimator(run, settings)
    surrogate = _train_surrogate(run, signal_settings)

    generator = torch.Generator().manual_seed(options.seed)
    signal, conditions, _ = run.noisy(torch.arange(len(run.held_out)), generator)
    with torch.no_grad():
        mean, sd = estimator.physical(signal, conditions)
        difference = surrogate(run.held_out.values) - run.held_out.signal
    count = len(specification.parameters)
    mean, sd = mean[:, :count], sd[:, :count]
    truth = run.held_out.values[:, :count]
    draw_scatter(specification.parameters, truth, mean, sd, run.folder / "estimator_scatter.png")
    rows = _compare(run, signal, mean, sd)
    surrogate_error = {
        "rms": float(difference.square().mean().sqrt()),
        "largest": float(difference.abs().max()),
    }
    report = (
        f"{table(rows)}\n\nSurrogate of the signal: root mean square error "
        f"{surrogate_error['rms']:.2e} M0, largest {surrogate_error['largest']:.2e} M0.\n"
    )
    (run.folder / "figures.md").write_text(report, encoding="utf-8")
    print(report)

    history = {
        "command": f"python -m models.cest_mt.train {options.network} --voxels {options.voxels} "
        f"--steps {options.steps} --signal-steps {options.signal_steps} --seed {options.seed} "
        f"--threads {options.threads}",
        "seed": options.seed,
        "voxels": options.voxels,
    }
    estimator_bundle = bundle.parameter_bundle(
        estimator,
        signal[:_GOLDEN_VOXELS],
        conditions[:_GOLDEN_VOXELS],
        history
        | {
            "settings": asdict(settings),
            "noise": "Gaussian, 0.3 to 3 % of the voxel's largest image",
            "held_out_at_1_percent_noise": [
                {"estimate": label, **asdict(row)} for label, row in rows
            ],
        },
    )
    surrogate_bundle = bundle.signal_bundle(
        surrogate,
        run.held_out.values[:_GOLDEN_VOXELS],
        history | {"settings": asdict(signal_settings), "held_out_error": surrogate_error},
    )
    for content in (estimator_bundle, surrogate_bundle):
        for parent in (run.folder, bundle.NETWORKS) if options.install else (run.folder,):
            bundle.save(content, parent / content["metadata"]["name"])


def _simulated(specification: Specification, values: Tensor, cache: Path) -> VoxelSet:
    with progress_bar(
        f"simulating {len(values)} voxels of {specification.protocol}", 100
    ) as progress:
        return simulated_set(
            specification, values, cache, lambda share: progress(round(100 * share), share)
        )


def _first_stage(specification: Specification, output: Path) -> ParameterNetwork | None:
    """The trained semisolid network, for the amide stage only."""
    if specification is not AMIDE_3T:
        return None
    weights = output / MT_3T.name / "estimator.pt"
    if not weights.exists():
        raise SystemExit(f"{weights} is missing: train {MT_3T.name} first, the amide needs it")
    network = ParameterNetwork(MT_3T)
    network.load_state_dict(torch.load(weights, weights_only=True))
    return network.eval()


def _batches(
    specification: Specification,
    voxels: VoxelSet,
    first_stage: ParameterNetwork | None,
    cache: Path,
    noise_range: tuple[float, float],
) -> FingerprintBatches:
    """Noisy batches of the voxels, with the same voxels in the first stage's protocol."""
    if first_stage is None:
        return FingerprintBatches(voxels, specification, noise_range=noise_range)
    names = [quantity.name for quantity in specification.varied]
    columns = [names.index(quantity.name) for quantity in MT_3T.varied]
    first = _simulated(MT_3T, voxels.values[:, columns].contiguous(), cache)
    return FingerprintBatches(voxels, specification, (first_stage, first.signal), noise_range)


def _compare(run: _Run, signal: Tensor, mean: Tensor, sd: Tensor) -> list[tuple[str, Figures]]:
    """Figures of the network and of dictionary matching, over the prior and over brain tissue."""
    specification, held_out = run.specification, run.held_out
    names = [quantity.name for quantity in specification.varied]
    brain = torch.ones(len(held_out), dtype=torch.bool)
    for column, name in enumerate(names):
        low, high = BRAIN[name]
        values = held_out.values[:, column]
        brain &= (values >= low) & (values <= high)
    groups = {"all voxels": torch.ones_like(brain)}
    if not specification.nuisances:
        groups["brain tissue"] = brain
    estimates: list[tuple[str, Tensor, Tensor | None]] = [("network", mean, sd)]
    if not run.options.no_dictionary:
        known = [quantity.name for quantity in specification.conditions]
        dictionary = build_dictionary(specification, GRIDS[specification.name], known)
        told = {name: held_out.values[:, names.index(name)] for name in known}
        estimates.append(("dictionary", match(dictionary, signal, told).values, None))
    return [
        (
            f"{label}, {group}",
            figures(
                quantity,
                held_out.values[chosen, column],
                estimate[chosen, column],
                None if spread is None else spread[chosen, column],
            ),
        )
        for group, chosen in groups.items()
        for label, estimate, spread in estimates
        for column, quantity in enumerate(specification.parameters)
    ]


if __name__ == "__main__":
    main()
