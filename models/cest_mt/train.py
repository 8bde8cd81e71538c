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
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import Tensor

from models.cest_mt import bundle
from models.cest_mt.dictionary import GRIDS, build_dictionary, match
from models.cest_mt.evaluation import (
    Figures,
    draw_loss,
    draw_scatter,
    held_out_figures,
    table,
)
from models.cest_mt.network import ParameterNetwork, SignalNetwork
from models.cest_mt.optimisation import TrainingLog, TrainingSettings
from models.cest_mt.preparation import EVALUATION_NOISE, Run, prepare
from models.cest_mt.progress import progress_bar
from models.cest_mt.specification import SPECIFICATIONS
from models.cest_mt.study import load_study, simulated_brain
from models.cest_mt.study_training import train_on_study
from models.cest_mt.training import (
    settle_deviations,
    signal_statistics,
    train_parameter_network,
    train_signal_network,
)
from models.cest_mt.training_set import VoxelSet

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
    parser.add_argument(
        "--fresh-every",
        type=int,
        default=0,
        help="steps after which some training voxels are exchanged for new ones (0: never)",
    )
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--batch", type=int, help="voxels per step (1024; on a study 512)")
    parser.add_argument(
        "--physics-weight", type=float, help="see NetworkSpecification; by default what it says"
    )
    parser.add_argument("--width", type=int, help="of the estimator; by default what it says")
    parser.add_argument("--rate", type=float, default=2e-3, help="learning rate")
    parser.add_argument("--held-out", type=int, default=20_000, help="voxels to evaluate on")
    parser.add_argument(
        "--steps", type=int, help="steps of the estimator (8000; on a study 800, refining 200)"
    )
    parser.add_argument(
        "--signal-steps",
        type=int,
        default=8_000,
        help="steps of the surrogate (0: train none; physics then use the shipped one)",
    )
    parser.add_argument(
        "--seconds", type=float, default=0, help="of the estimator's training at most (0: any)"
    )
    parser.add_argument("--signal-seconds", type=float, default=0, help="of the surrogate's")
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
        options.batch = options.batch or 1024
        specification = SPECIFICATIONS[options.network]
        if options.physics_weight is not None:
            specification = replace(specification, physics_weight=options.physics_weight)
        if options.width is not None:
            specification = replace(specification, width=options.width)
        _train_all(prepare(specification, options))


def _learn_study(options: argparse.Namespace) -> None:
    if options.study is not None:
        study, source = load_study(options.study), f"--study {options.study.name}"
        output = options.output / options.study.stem
    else:
        shape = tuple(options.simulated_study)
        study = simulated_brain(shape, EVALUATION_NOISE, options.seed, options.device)
        source = "--simulated-study " + " ".join(map(str, shape))
        output = options.output / "simulated_study"
    steps = options.steps or (200 if options.refine else 800)
    settings = TrainingSettings(
        steps=steps,
        batch=options.batch or 512,
        learning_rate=5e-4 if options.refine else 1e-3,
        seed=options.seed,
        log_every=25,
        patience=6,
    )
    output = output / ("refined" if options.refine else "fresh")
    command = f"python -m models.cest_mt.train {source} --steps {steps} --seed {options.seed}"
    reports = train_on_study(
        study,
        output,
        settings,
        options.refine,
        command=command + " --refine" * options.refine,
        device=options.device,
    )
    text = (
        f"{int(study.mask.sum())} voxels; {study.left_out} more left out (a value that is not "
        "finite, a negative signal, or no M0, T1 or T2)\n\n"
    )
    text += "\n\n".join(r.text() for r in reports) + "\n"
    (output / "figures.md").write_text(text, encoding="utf-8")
    print(text)


def _train_surrogate(run: Run, settings: TrainingSettings) -> tuple[SignalNetwork, TrainingLog]:
    torch.manual_seed(settings.seed)
    network = SignalNetwork(run.specification, *signal_statistics(run.training.signal, False))
    network.to(run.options.device)
    with progress_bar(f"{run.specification.name} signal surrogate", settings.steps) as progress:
        log = train_signal_network(
            network,
            run.training,
            settings,
            run.folder / "signal.checkpoint",
            progress,
            run.exchange,
        )
    draw_loss(log, run.folder / "signal_loss.png", "mean square error / variance")
    torch.save(network.state_dict(), run.folder / "signal.pt")
    return network, log


def _train_estimator(
    run: Run, settings: TrainingSettings, surrogate: SignalNetwork | None, steps_before: int
) -> tuple[ParameterNetwork, TrainingLog]:
    torch.manual_seed(settings.seed)
    network = ParameterNetwork(run.specification, *signal_statistics(run.training.signal, True))
    network.to(run.options.device)
    with progress_bar(f"{run.specification.name} estimator", settings.steps) as progress:
        log = train_parameter_network(
            network,
            run.batches,
            len(run.training),
            settings,
            run.folder / "estimator.checkpoint",
            progress,
            surrogate if surrogate is None else surrogate.requires_grad_(requires_grad=False),
            lambda step: run.exchange(steps_before + step),
        )
    if run.specification.physics_weight:
        settle = replace(settings, steps=max(1, settings.steps // 3), weight_decay=0.0)
        settle_deviations(network, run.batches, len(run.training), settle)
    draw_loss(log, run.folder / "estimator_loss.png", "negative log-likelihood")
    torch.save(network.state_dict(), run.folder / "estimator.pt")
    return network, log


def _train_all(run: Run) -> None:
    """Trains both networks, evaluates them on the held-out voxels and writes the bundles."""
    specification, options = run.specification, run.options
    settings = TrainingSettings(
        steps=options.steps,
        batch=options.batch,
        learning_rate=options.rate,
        seed=options.seed,
        seconds=options.seconds,
    )
    signal_settings = replace(
        settings, steps=options.signal_steps, weight_decay=0.0, seconds=options.signal_seconds
    )
    trained, signal_log = None, TrainingLog()
    if options.signal_steps:
        trained, signal_log = _train_surrogate(run, signal_settings)
    surrogate = trained
    if surrogate is None and specification.physics_weight:
        surrogate = bundle.load_signal_network(specification).to(options.device)
    estimator, log = _train_estimator(run, settings, surrogate, signal_log.steps)
    estimator.cpu()

    generator = torch.Generator().manual_seed(options.seed)
    signal, conditions, _, _ = run.noisy(torch.arange(len(run.held_out)), generator)
    with torch.no_grad():
        mean, sd = estimator.physical(signal, conditions)
    count = len(specification.parameters)
    mean, sd = mean[:, :count], sd[:, :count]
    truth = run.held_out.values[:, :count]
    draw_scatter(specification.parameters, truth, mean, sd, run.folder / "estimator_scatter.png")
    rows = _compare(run, signal, mean, sd)
    report = table(rows) + "\n"
    if trained is not None:
        surrogate_error = _surrogate_error(trained.cpu(), run.held_out)
        report += (
            f"\nSurrogate of the signal: root mean square error {surrogate_error['rms']:.2e} M0, "
            f"largest {surrogate_error['largest']:.2e} M0.\n"
        )
    (run.folder / "figures.md").write_text(report, encoding="utf-8")
    print(report)

    history = {
        "command": f"python -m models.cest_mt.train {options.network} --voxels {options.voxels} "
        f"--steps {log.steps} --signal-steps {signal_log.steps} --batch {options.batch} "
        f"--rate {options.rate:g} --fresh-every {options.fresh_every} --seed {options.seed} "
        f"--physics-weight {specification.physics_weight:g} --width {specification.width} "
        f"--device {options.device}",
        "device": torch.cuda.get_device_name() if options.device == "cuda" else "CPU",
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
            "physics_weight": specification.physics_weight,
            "noise": "Gaussian, 0.3 to 3 % of the voxel's largest image",
            "held_out_at_1_percent_noise": [
                {"estimate": label, **asdict(row)} for label, row in rows
            ],
        },
    )
    bundles = [estimator_bundle]
    if trained is not None:
        details = {"settings": asdict(signal_settings), "held_out_error": surrogate_error}
        golden = run.held_out.values[:_GOLDEN_VOXELS]
        bundles.append(bundle.signal_bundle(trained, golden, history | details))
    for content in bundles:
        for parent in (run.folder, bundle.NETWORKS) if options.install else (run.folder,):
            bundle.save(content, parent / content["metadata"]["name"])


def _surrogate_error(surrogate: SignalNetwork, voxels: VoxelSet) -> dict[str, float]:
    with torch.no_grad():
        difference = surrogate(voxels.values) - voxels.signal
    return {
        "rms": float(difference.square().mean().sqrt()),
        "largest": float(difference.abs().max()),
    }


def _compare(run: Run, signal: Tensor, mean: Tensor, sd: Tensor) -> list[tuple[str, Figures]]:
    """Figures of the network and of dictionary matching on the held-out voxels."""
    specification, values = run.specification, run.held_out.values
    estimates: list[tuple[str, Tensor, Tensor | None]] = [("network", mean, sd)]
    if not run.options.no_dictionary:
        names = [quantity.name for quantity in specification.varied]
        known = [quantity.name for quantity in specification.conditions]
        device = run.options.device
        dictionary = build_dictionary(specification, GRIDS[specification.name], known, device)
        told = {name: values[:, names.index(name)].to(device) for name in known}
        matched = match(dictionary, signal.to(device), told)
        estimates.append(("dictionary", matched.values.cpu(), None))
    return held_out_figures(specification, values, estimates)


if __name__ == "__main__":
    main()
