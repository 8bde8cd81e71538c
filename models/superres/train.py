"""Trains, evaluates and exports the super-resolution network.

``python -m models.superres.train`` simulates phantoms, trains with the two self-supervised losses
and leaves the bundle, the loss curves and a picture under ``--output``; with ``--install`` the
bundle goes into the project. An interrupted run continues when started again.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import Progress, TaskID

from models.superres import bundle
from models.superres.held_out import figures, measured_study, procedural_phantom
from models.superres.pictures import draw_before_after, draw_losses
from models.superres.reconstruction import evidence, physics_start, reconstruct
from models.superres.training import TrainingSettings, phantom_slices, train

DATA = Path("../shared/data")
_GOLDEN_SHAPE = (48, 40)


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line; see ``--help``."""
    defaults = TrainingSettings()
    parser = argparse.ArgumentParser(prog="python -m models.superres.train", description=__doc__)
    parser.add_argument(
        "--output", type=Path, default=Path("build/superres"), help="folder for all that is made"
    )
    parser.add_argument(
        "--data", type=Path, default=DATA, help="published labels; procedural anatomy where absent"
    )
    parser.add_argument("--steps", type=int, default=defaults.steps, help="optimiser steps")
    parser.add_argument("--phantoms", type=int, default=defaults.phantoms, help="training slices")
    parser.add_argument("--seed", type=int, default=defaults.seed, help="of phantoms and weights")
    parser.add_argument(
        "--learning-rate", type=float, default=defaults.learning_rate, help="the highest"
    )
    parser.add_argument(
        "--initial", type=Path, help="ONNX file to continue from, instead of random weights"
    )
    parser.add_argument("--batch", type=int, default=defaults.batch, help="slices per step")
    parser.add_argument("--device", default="cpu", help="of torch, for the training")
    parser.add_argument(
        "--seconds", type=float, default=math.inf, help="time limit of the optimisation"
    )
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument(
        "--install", action="store_true", help="copy the bundle into models/superres"
    )
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    settings = TrainingSettings(
        steps=options.steps,
        batch=options.batch,
        phantoms=options.phantoms,
        learning_rate=options.learning_rate,
        seed=options.seed,
    )
    data = options.data if options.data.exists() else None
    run(
        settings,
        data,
        options.output,
        options.threads,
        options.device,
        options.seconds,
        options.initial,
    )
    if options.install:
        for name in ("model.onnx", "golden.npz", "metadata.json"):
            shutil.copyfile(options.output / name, bundle.FOLDER / name)


def run(
    settings: TrainingSettings,
    data: Path | None,
    folder: Path,
    processes: int = 1,
    device: str = "cpu",
    seconds: float = math.inf,
    initial: Path | None = None,
) -> None:
    """Trains and writes bundle and pictures into ``folder``; see ``train`` and ``--help``."""
    folder.mkdir(parents=True, exist_ok=True)
    with progress_bar() as progress:
        drawing = progress.add_task("phantoms", total=settings.phantoms)
        phantoms = phantom_slices(settings, data, lambda: progress.advance(drawing), processes)
        steps = progress.add_task("training", total=settings.steps)
        network, log = train(
            settings,
            phantoms,
            folder / "checkpoint",
            lambda step, *losses: _show(progress, steps, step, losses),
            device,
            seconds,
            bundle.load_network(initial) if initial else None,
        )
    draw_losses(log, folder / "losses.png")

    phantom = procedural_phantom((128, 128), 0)
    study = measured_study(phantom, (3.0, 3.0))
    with torch.no_grad():
        stages = reconstruct(study, lambda told: network(*told))
    start, final = stages[0].scaled.interpolated, stages[-1].maps
    draw_before_after(phantom, start, final, folder / "before_after.png")
    before, after = figures(start, phantom, study), figures(final, phantom, study)
    for name, value in after.items():
        print(f"{name:32s} {before[name]:10.3f} -> {value:10.3f}")

    golden = procedural_phantom(_GOLDEN_SHAPE, 1)
    example = evidence(*physics_start(measured_study(golden, (2.0, 2.0))))
    training = {
        "command": f"python -m models.superres.train --steps {settings.steps} "
        f"--batch {settings.batch} --phantoms {settings.phantoms} "
        f"--learning-rate {settings.learning_rate} --seed {settings.seed}"
        + (" --initial model.onnx" if initial else ""),
        "seconds_limit": seconds if math.isfinite(seconds) else None,
        "steps_done": log.entries[-1][0] if log.entries else 0,
        "initial": _origin(initial) if initial else None,
        "anatomy": "procedural and phantom_brain_labels" if data else "procedural",
        "settings": asdict(settings),
        "losses": ["guide synthesis", "low-resolution consistency"],
        "last_losses": log.entries[-1] if log.entries else [],
        "held_out_procedural_phantom": after,
    }
    bundle.save(network, example, training, folder)


def _origin(initial: Path) -> dict[str, Any]:
    """Digest of the file that a training continues, and how that was trained where it says so."""
    metadata = initial.with_name("metadata.json")
    earlier = json.loads(metadata.read_text())["training"] if metadata.exists() else None
    return {"sha256": sha256(initial.read_bytes()).hexdigest(), "training": earlier}


def _show(progress: Progress, task: TaskID, step: int, losses: tuple[float, float]) -> None:
    progress.update(
        task, completed=step + 1, description=f"guides {losses[0]:.2f}, maps {losses[1]:.2f}"
    )


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """A progress bar on a terminal, nothing elsewhere."""
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal) as progress:
        yield progress


if __name__ == "__main__":
    main()
