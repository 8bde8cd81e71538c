"""Train the prior and export it: ``python -m models.diffusion.train --minutes 30``.

What is read (anatomies, real maps) is prepared once and kept in the work folder; from it, slabs are
made at the start of every run. A checkpoint is written there every half minute, and a run that
finds one continues. The loss curve and sample maps are drawn beside it. Preparing needs the shared
data, requirements-dev.txt (dcm2niix, DIPY for masks) and requirements-training.txt (tissue maps);
a folder that holds ``inputs.npz`` can be carried to a machine with a GPU that has none of these.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from models.diffusion.random_draws import RandomDraws
from models.diffusion.training import (
    Examples,
    Progress,
    resume,
    save,
    settle_deviations,
    start,
    start_from,
    train,
)
from models.diffusion.training_slabs import Slabs, make_slabs

_ROOT = Path(__file__).resolve().parents[2]
_NETWORKS = Path(__file__).with_name("networks")
_SECONDS_BETWEEN_CHECKPOINTS = 30.0
# Losses kept per figure that is reported.
_RECENT = 50


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m models.diffusion.train", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0, help="training time in all")
    parser.add_argument(
        "--wall", type=float, default=0.0, help="s from the start at which training ends; 0: never"
    )
    parser.add_argument("--synthetic", type=int, default=560, help="synthetic slabs")
    parser.add_argument("--real", type=int, default=240, help="slabs of real series")
    parser.add_argument(
        "--start", type=Path, help="model.onnx of an earlier bundle, whose weights to start from"
    )
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rate", type=float, default=1.5e-3, help="largest learning rate")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=0, help="0: as many as torch likes")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--data", type=Path, default=os.environ.get("QUANTMAP_DATA", _ROOT.parent / "shared/data")
    )
    parser.add_argument("--work", type=Path, default=_ROOT / "build" / "diffusion_prior")
    parser.add_argument("--output", type=Path, default=_NETWORKS)
    arguments = parser.parse_args()
    began = time.perf_counter()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    device = torch.device(arguments.device)
    arguments.work.mkdir(parents=True, exist_ok=True)
    slabs = _slabs(arguments, device)
    progress = start(arguments.rate, device, arguments.seed)
    checkpoint = arguments.work / "checkpoint.pt"
    if checkpoint.exists():
        resume(progress, checkpoint)
        print(f"continuing at step {progress.step}")
    elif arguments.start:
        start_from(progress, arguments.start)
    seconds = 60 * arguments.minutes
    if arguments.wall:
        left = arguments.wall - (time.perf_counter() - began)
        seconds = min(seconds, progress.seconds + left)
    _run(progress, slabs, seconds, arguments, checkpoint)
    _draw(progress, slabs, arguments.work)
    draws = RandomDraws(arguments.seed + 1, device)
    factors = settle_deviations(progress.average, Examples(slabs, arguments.batch, draws))
    print("SD multiplied by", " ".join(f"{factor:.2f}" for factor in factors.tolist()))
    _export(progress, arguments)


def _slabs(arguments: argparse.Namespace, device: torch.device) -> Slabs:
    from models.diffusion.training_inputs import Inputs

    path = arguments.work / "inputs.npz"
    if not path.exists():
        from models.diffusion.training_maps import make_inputs

        make_inputs(arguments.data).save(path)
    inputs = Inputs.load(path)
    began = time.perf_counter()
    counts = arguments.synthetic, arguments.real
    batches = []
    with tqdm(total=sum(counts), desc="slabs", disable=None) as bar:
        for batch in make_slabs(*inputs.tensors(device), counts, RandomDraws(0, device)):
            batches.append(batch)
            bar.update(len(batch.maps))
    print(f"{sum(counts)} slabs in {time.perf_counter() - began:.0f} s", flush=True)
    return Slabs(
        torch.cat([batch.maps for batch in batches]), torch.cat([batch.brain for batch in batches])
    )


def _run(
    progress: Progress,
    slabs: Slabs,
    total: float,
    arguments: argparse.Namespace,
    checkpoint: Path,
) -> None:
    saved = progress.seconds
    with tqdm(total=round(total), initial=round(progress.seconds), unit="s", disable=None) as bar:
        for state in train(
            progress,
            slabs,
            seconds=total,
            batch=arguments.batch,
            rate=arguments.rate,
            seed=arguments.seed,
        ):
            bar.update(round(state.seconds) - bar.n)
            if state.seconds - saved > _SECONDS_BETWEEN_CHECKPOINTS:
                saved = state.seconds
                save(progress, checkpoint)
                recent = np.mean(progress.losses[-_RECENT:], axis=0)
                bar.set_postfix(step=progress.step, square=recent[0], likelihood=recent[1])
                if bar.disable:
                    print(f"{saved:.0f} s, step {progress.step}, losses {recent}", flush=True)
    save(progress, checkpoint)


def _export(progress: Progress, arguments: argparse.Namespace) -> None:
    from models.diffusion.bundle import write_bundle
    from models.diffusion.channels import DTI

    device = arguments.device
    if torch.device(device).type == "cuda":
        device = torch.cuda.get_device_name()
    folder = write_bundle(
        progress.average.cpu(),
        DTI,
        arguments.output / "prior_dti",
        {
            "steps": progress.step,
            "batch": arguments.batch,
            "seconds": round(progress.seconds),
            "device": device,
            "synthetic_slabs": arguments.synthetic,
            "real_slabs": arguments.real,
            "seed": arguments.seed,
            "final_square_error": round(float(np.mean(progress.losses[-_RECENT:], axis=0)[0]), 4),
        },
    )
    print(f"wrote {folder}")


def _draw(progress: Progress, slabs: Slabs, work: Path) -> None:
    """Loss curves, and clean, noisy and denoised maps of a few windows."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    values = np.array(progress.losses)
    width = max(1, len(values) // 200)
    smooth = values[: len(values) // width * width].reshape(-1, width, 2).mean(axis=1)
    steps = np.linspace(0, progress.step, len(smooth))
    figure, axis = pyplot.subplots(figsize=(7, 4), layout="constrained")
    axis.plot(steps, smooth, label=["square error", "-log likelihood"])
    axis.set(xlabel="step", ylabel="loss", title="prior of the tensor", ylim=(-1, 1.2))
    axis.legend()
    figure.savefig(work / "loss.png", dpi=120)

    draws = RandomDraws(0, slabs.maps.device)
    clean, noisy, brain = Examples(slabs, 6, draws).draw()
    with torch.no_grad():
        mean, posterior = progress.average(
            noisy.maps.transpose(1, 2) * brain[:, :, None],
            noisy.sd[:, :, 1],
            noisy.correlation[:, None, 1],
            brain,
        )
    rows = {
        "clean": (clean[:, 1, 1], 2.0),
        "noisy": (noisy.maps[:, 1, 1], 2.0),
        "mean": (mean[:, 1], 2.0),
        "SD": (posterior[:, 1], 0.3),
    }
    figure, axes = pyplot.subplots(4, 6, figsize=(12, 8.4), layout="constrained")
    for line, (title, (maps, largest)) in zip(axes, rows.items(), strict=True):
        for axis, picture, inside in zip(line, maps, brain[:, 1], strict=True):
            axis.imshow((picture * inside).cpu(), vmin=0, vmax=largest)
            axis.set_title(title)
            axis.axis("off")
    figure.suptitle("Dxx, µm²/ms")
    figure.savefig(work / "samples.png", dpi=100)


if __name__ == "__main__":
    main()
