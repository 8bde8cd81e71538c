"""Prints every figure of the model card: ``python -m models.superres.evaluate``.

Phantoms of a published brain that no training phantom comes from, and a volunteer's images. All
runs through ONNX Runtime, as in the application.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from rich.table import Table
from scipy.ndimage import uniform_filter
from torch import Tensor

from models.superres.bundle import open_session, session_step
from models.superres.disagreement import disagreement
from models.superres.held_out import Phantom, figures, measured_study, published_phantom
from models.superres.human import HumanSlices, human_slices
from models.superres.metrics import ssim
from models.superres.network import bounded
from models.superres.reconstruction import Step, initial_maps, physics_start, reconstruct
from models.superres.refine import refine, voxelwise_lbfgs
from models.superres.study import Study, scale_guides, signals
from models.superres.train import DATA, progress_bar

HUMAN_SLICES = list(range(100, 160, 6))
"""Axial slices of the volunteer, from the base of the ventricles to the vertex."""


def anchor_only(study: Study, iterations: int = 200) -> Tensor:
    """Maps by alternating projection on measured maps, mask and bounds: no guide.

    Args:
        study: what is measured.
        iterations: projections.
    """
    scaled = scale_guides(replace(study, sequences=(None, None)))
    maps = scaled.interpolated
    for _ in range(iterations):
        correction = scaled.truncation.interpolate(study.maps - scaled.truncation(maps))
        maps = bounded(maps + correction) * study.mask
    return maps


def phantom_results(study: Study, step: Step, lbfgs_iterations: int = 0) -> dict[str, Tensor]:
    """Maps (1, 3, *shape) of each method that is compared."""
    with torch.no_grad():
        stages = reconstruct(study, step)
        start = physics_start(study)[1]
        refined = refine(stages[-1].scaled, stages[-1].maps)
    results = {
        "zero-filled": scale_guides(study).interpolated,
        "anchor and mask only": anchor_only(study),
        "physics without network": start,
        "super-resolved": stages[-1].maps,
        "refined": refined,
    }
    if lbfgs_iterations:
        scaled = stages[-1].scaled
        results["voxelwise L-BFGS"], _ = voxelwise_lbfgs(
            scaled, initial_maps(scaled), lbfgs_iterations
        )
    return results


def with_lesion(phantom: Phantom, radius: float = 5.0) -> tuple[Phantom, npt.NDArray[np.bool_]]:
    """A phantom with a round lesion in the middle of its white matter, and where it is.

    T1 rises by a factor of 1.65, T2 by 1.82 and PD by 1.05, as in demyelination.

    Args:
        phantom: one slice.
        radius: in voxels.
    """
    smooth = uniform_filter(phantom.fractions["white matter"], 15)
    row, column = np.unravel_index(np.argmax(smooth), smooth.shape)
    rows, columns = np.ogrid[: smooth.shape[0], : smooth.shape[1]]
    inside = (rows - row) ** 2 + (columns - column) ** 2 <= radius**2
    factors = torch.tensor([1.05, 1.65, 1.82]).view(1, 3, 1, 1) ** torch.from_numpy(inside).float()
    return replace(phantom, maps=phantom.maps * factors), inside


def human_similarities(human: HumanSlices, maps: Tensor) -> dict[str, float]:
    """SSIM of T1w, T2w and FLAIR synthesised from maps against the acquired ones.

    Each is scaled by one factor per slice set; the data range is the 99.5th percentile of the
    acquired image in the brain.
    """
    synthetic = signals((*human.study.sequences, human.flair_sequence), maps).numpy()
    acquired = torch.cat([human.study.guides, human.flair.unsqueeze(1)], 1).numpy()
    inside = human.study.mask[:, 0].numpy() > 0
    result = {}
    for index, name in enumerate(("T1w", "T2w", "FLAIR")):
        ours, theirs = synthetic[:, index], acquired[:, index]
        scale = (ours * theirs)[inside].sum() / (ours**2)[inside].sum()
        span = float(np.percentile(theirs[inside], 99.5))
        result[name] = ssim(ours * scale, theirs, inside, span)
    return result


def _print_phantom(
    console: Console, title: str, results: dict[str, Tensor], phantom: Phantom, study: Study
) -> None:
    rows = {name: figures(maps, phantom, study) for name, maps in results.items()}
    table = Table(title=title)
    table.add_column("figure")
    for name in rows:
        table.add_column(name, justify="right")
    for figure in next(iter(rows.values())):
        table.add_row(figure, *[f"{row[figure]:.3f}" for row in rows.values()])
    console.print(table)


def _print_lesions(console: Console, phantom: Phantom, step: Step) -> None:
    lesioned, inside = with_lesion(phantom)
    plain, changed = measured_study(phantom, (3.0, 3.0)), measured_study(lesioned, (3.0, 3.0))
    table = Table(
        "lesion in",
        "T1 in it / without",
        "T2",
        "disagreement in it (SD)",
        "outside, 99 %",
        title="Lesions",
    )
    cases = {
        "nothing": plain,
        "maps and guides": changed,
        "maps only": replace(plain, maps=changed.maps),
        "guides only": replace(plain, guides=changed.guides),
    }
    brain = plain.mask[0, 0].numpy() > 0
    for name, study in cases.items():
        with torch.no_grad():
            stage = reconstruct(study, step)[-1]
        ours, healthy = stage.maps[0].numpy(), phantom.maps[0].numpy()
        ratio = [np.median(ours[i][inside]) / np.median(healthy[i][inside]) for i in (1, 2)]
        local = disagreement(stage.scaled, stage.maps)[0, 0].numpy()
        table.add_row(
            name,
            *[f"{r:.2f}" for r in ratio],
            f"{np.median(local[inside]):.1f}",
            f"{np.percentile(local[brain & ~inside], 99):.1f}",
        )
    console.print(table)


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line; see ``--help``."""
    parser = argparse.ArgumentParser(prog="python -m models.superres.evaluate", description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA, help="shared data sets")
    parser.add_argument("--model", type=Path, help="ONNX file (the shipped one)")
    parser.add_argument("--lbfgs", type=int, default=300, help="iterations of the peer; 0 skips it")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    session = (
        open_session(options.model, options.threads)
        if options.model
        else open_session(threads=options.threads)
    )
    step: Callable = session_step(session)
    console = Console(width=160)
    with progress_bar() as progress:
        task = progress.add_task("evaluation", total=6)
        for title, plane, factor, guides in (
            ("axial, factor 3, both guides", "axial", 3.0, (True, True)),
            ("coronal, factor 3, both guides", "coronal", 3.0, (True, True)),
            ("axial, factor 2, both guides", "axial", 2.0, (True, True)),
            ("axial, factor 3, T1w only", "axial", 3.0, (True, False)),
            ("axial, factor 3, T2w only", "axial", 3.0, (False, True)),
        ):
            phantom = published_phantom(options.data, plane)
            study = measured_study(phantom, (factor, factor), guides=guides)
            results = phantom_results(study, step, options.lbfgs if all(guides) else 0)
            _print_phantom(
                console, f"Held-back phantom, 1 % noise: {title}", results, phantom, study
            )
            progress.advance(task)
        _print_lesions(console, published_phantom(options.data), step)
        human = human_slices(options.data / "t1w_t2w_flair_human", HUMAN_SLICES)
        table = Table("maps", "T1w", "T2w", "FLAIR (never a guide)", title="Volunteer: SSIM")
        human_results = phantom_results(human.study, step)
        human_results["made from the three images"] = human.maps
        for name, maps in human_results.items():
            similarities = human_similarities(human, maps)
            table.add_row(name, *[f"{v:.3f}" for v in similarities.values()])
        console.print(table)
        progress.advance(task)


if __name__ == "__main__":
    main()
