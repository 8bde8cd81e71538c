"""Train a prior and export it: ``python -m models.diffusion.train dti --minutes 30``.

Slabs are made once and kept in the work folder; a checkpoint is written there every minute, and
a run that finds one continues. The loss curve and sample maps are drawn beside it. Needs the
shared data, requirements-dev.txt (dcm2niix, DIPY for masks) and requirements-training.txt
(tissue maps).
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from models.diffusion.bundle import write_bundle
from models.diffusion.channels import STACKS, Stack
from models.diffusion.prior import NETWORKS
from models.diffusion.training import (
    Progress,
    Slabs,
    example,
    make_slabs,
    resume,
    save,
    start,
    train,
)

_ROOT = Path(__file__).resolve().parents[2]
_SECONDS_BETWEEN_CHECKPOINTS = 60.0


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m models.diffusion.train", description=__doc__)
    parser.add_argument("stack", choices=sorted(STACKS))
    parser.add_argument("--minutes", type=float, default=30.0, help="training time in all")
    parser.add_argument("--synthetic", type=int, default=560, help="synthetic slabs")
    parser.add_argument("--real", type=int, default=240, help="slabs of real series (dti only)")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rate", type=float, default=1.5e-3, help="largest learning rate")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=0, help="0: as many as torch likes")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--data", type=Path, default=os.environ.get("QUANTMAP_DATA", _ROOT.parent / "shared/data")
    )
    parser.add_argument("--work", type=Path, default=_ROOT / "build" / "diffusion_prior")
    parser.add_argument("--output", type=Path, default=NETWORKS)
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    stack = STACKS[arguments.stack]
    work = arguments.work / stack.name
    work.mkdir(parents=True, exist_ok=True)
    slabs = _slabs(stack, arguments, work / "slabs.npz")
    progress = start(stack, arguments.rate, torch.device(arguments.device), arguments.seed)
    checkpoint = work / "checkpoint.pt"
    if checkpoint.exists():
        resume(progress, checkpoint)
        print(f"continuing at step {progress.step}")
    _run(progress, slabs, stack, arguments, checkpoint)
    _draw(progress, slabs, stack, work)
    folder = write_bundle(
        progress.average.cpu(),
        stack,
        arguments.output / f"prior_{stack.name}",
        {
            "steps": progress.step,
            "batch": arguments.batch,
            "seconds": round(progress.seconds),
            "device": arguments.device,
            "synthetic_slabs": arguments.synthetic,
            "real_slabs": arguments.real if stack.name == "dti" else 0,
            "seed": arguments.seed,
            "final_square_error": round(float(np.mean(progress.losses[-200:], axis=0)[0]), 4),
        },
    )
    print(f"wrote {folder}")


def _slabs(stack: Stack, arguments: argparse.Namespace, path: Path) -> Slabs:
    if not path.exists():
        real = arguments.real if stack.name == "dti" else 0
        total = arguments.synthetic + real
        made = make_slabs(stack, arguments.synthetic, real, arguments.data, arguments.seed)
        pairs = list(tqdm(made, total=total, desc="slabs", disable=None))
        np.savez(path, maps=np.stack([p[0] for p in pairs]), brain=np.stack([p[1] for p in pairs]))
    with np.load(path) as found:
        return Slabs(torch.from_numpy(found["maps"]), torch.from_numpy(found["brain"]))


def _run(
    progress: Progress,
    slabs: Slabs,
    stack: Stack,
    arguments: argparse.Namespace,
    checkpoint: Path,
) -> None:
    total = 60 * arguments.minutes
    saved = progress.seconds
    with tqdm(total=round(total), initial=round(progress.seconds), unit="s", disable=None) as bar:
        for state in train(
            progress,
            slabs,
            stack,
            seconds=total,
            batch=arguments.batch,
            rate=arguments.rate,
            seed=arguments.seed,
        ):
            bar.update(round(state.seconds) - bar.n)
            if state.seconds - saved > _SECONDS_BETWEEN_CHECKPOINTS:
                saved = state.seconds
                save(progress, checkpoint)
                recent = np.mean(progress.losses[-200:], axis=0)
                bar.set_postfix(step=progress.step, square=recent[0], likelihood=recent[1])
                if bar.disable:
                    print(f"{saved:.0f} s, step {progress.step}, losses {recent}", flush=True)
    save(progress, checkpoint)


def _draw(progress: Progress, slabs: Slabs, stack: Stack, work: Path) -> None:
    """Loss curves, and clean, noisy and denoised maps of a few windows."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    values = np.array(progress.losses)
    width = max(1, len(values) // 200)
    smooth = values[: len(values) // width * width].reshape(-1, width, 2).mean(axis=1)
    figure, axis = pyplot.subplots(figsize=(7, 4), layout="constrained")
    axis.plot(np.arange(len(smooth)) * width, smooth, label=["square error", "-log likelihood"])
    axis.set(xlabel="step", ylabel="loss", title=f"prior {stack.name}")
    axis.legend()
    figure.savefig(work / "loss.png", dpi=120)

    source = torch.Generator().manual_seed(0)
    clean, noisy, brain = example(slabs, stack, 4, np.random.default_rng(0), source)
    with torch.no_grad():
        mean, posterior = progress.average.cpu()(
            noisy.maps.transpose(1, 2) * brain[:, :, None],
            noisy.sd[:, :, 1],
            noisy.correlation[:, None, 1],
            brain,
        )
    rows = {"clean": clean[:, 1, 1], "noisy": noisy.maps[:, 1, 1], "mean": mean[:, 1]}
    figure, axes = pyplot.subplots(4, 4, figsize=(10, 10), layout="constrained")
    for column in range(4):
        for line, (title, maps) in enumerate(rows.items()):
            picture = maps[column] * brain[column, 1]
            axes[line, column].imshow(picture, vmin=0, vmax=2)
            axes[line, column].set_title(title)
        axes[3, column].imshow(posterior[column, 1] * brain[column, 1], vmin=0, vmax=0.2)
        axes[3, column].set_title("SD")
    for axis in axes.flat:
        axis.axis("off")
    figure.suptitle("Dxx, µm²/ms")
    figure.savefig(work / "samples.png", dpi=100)


if __name__ == "__main__":
    main()
