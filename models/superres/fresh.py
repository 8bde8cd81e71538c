"""Prints figures on anatomy, protocols and seeds that nothing was tuned on.

``python -m models.superres.fresh``: slices of the ICBM 152 template (in the package nilearn, see
``requirements-training.txt``) and the sagittal slice of the published brain, each with the
reference tissue values and as a random subject with texture and lesions, with two pairs of guides.
Physics, network and bounds were fixed before this was run.
"""

from __future__ import annotations

import argparse
import importlib.util
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel
import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from rich.table import Table
from scipy.ndimage import zoom

from models.superres.anatomy import AIR, CSF, GREY, WHITE, Labels
from models.superres.bundle import open_session, session_step
from models.superres.disagreement import disagreement
from models.superres.evaluate import anchor_only, with_lesion
from models.superres.held_out import (
    T1_WEIGHTED,
    T2_WEIGHTED,
    Phantom,
    figures,
    measured_study,
    phantom_of,
    published_labels,
    varied_phantom,
)
from models.superres.reconstruction import Step, super_resolve
from models.superres.signal import SpinEcho, SpoiledGradientEcho, WeightedSequence
from models.superres.study import cropped, scale_guides, uncropped
from models.superres.train import DATA

GUIDES: dict[str, tuple[WeightedSequence, WeightedSequence]] = {
    "MPRAGE, FSE": (T1_WEIGHTED, T2_WEIGHTED),
    "SPGR, SE": (SpoiledGradientEcho(15, 25), SpinEcho(3000, 90)),
}
"""Pairs of guides."""

SLICES = {"axial": (60, 80, 100), "coronal": (110,)}
"""Slices of the template."""

_AXES = {"axial": 2, "coronal": 1}
_FIRST_SEED = 100
_COLUMNS = ("proton_density HFEN", "t1 HFEN", "t2 HFEN")


@dataclass(frozen=True)
class Case:
    """A phantom and how it is scanned.

    Attributes:
        name: for the table.
        phantom: with the known answer.
        guides: key of ``GUIDES``.
        seed: of the noise.
    """

    name: str
    phantom: Phantom
    guides: str
    seed: int


def template_labels(plane: str, index: int) -> Labels:
    """Fine labels of CSF, grey and white matter of one slice of the ICBM 152 template, 0.5 mm.

    Args:
        plane: 'axial' or 'coronal'.
        index: of the slice of 1 mm.

    Raises:
        FileNotFoundError: without the package nilearn.
    """
    found = importlib.util.find_spec("nilearn")
    if found is None or not found.submodule_search_locations:
        raise FileNotFoundError("the fresh test needs the tissue maps of the package nilearn")
    folder = Path(found.submodule_search_locations[0]) / "datasets" / "data"

    def fine(name: str) -> npt.NDArray[np.float32]:
        path = folder / f"mni_icbm152_{name}_tal_nlin_sym_09a_converted.nii.gz"
        volume = nibabel.nifti1.Nifti1Image.from_filename(path).dataobj
        image = np.asarray(volume, dtype=np.float32).take(index, axis=_AXES[plane])
        return np.asarray(zoom(image, 2, order=1, grid_mode=True, mode="nearest") / 255)

    head, grey, white = (fine(name) for name in ("t1", "gm", "wm"))
    labels: Labels = np.full(head.shape, CSF, dtype=np.uint8)
    labels[(grey > white) & (grey > 0.5 * (1 - white))] = GREY
    labels[(white >= grey) & (white > 0.5 * (1 - grey))] = WHITE
    labels[head <= 0] = AIR
    rows, columns = labels.shape
    return np.pad(labels, ((0, -rows % 24), (0, -columns % 24)))


def cases(data: Path) -> list[Case]:
    """Phantoms in every plane, with and without variation, the pairs of guides in turn."""
    anatomies = {
        f"ICBM 152, {plane} {index}": template_labels(plane, index)
        for plane, indices in SLICES.items()
        for index in indices
    }
    anatomies["published brain, sagittal"] = published_labels(data, "sagittal")
    result = []
    for number, (name, labels) in enumerate(anatomies.items()):
        seed = _FIRST_SEED + number
        first, second = ("MPRAGE, FSE", "SPGR, SE")[:: 1 if number % 2 == 0 else -1]
        result.append(Case(name, phantom_of(labels), first, seed))
        result.append(Case(f"{name}, subject", varied_phantom(labels, seed), second, seed))
    return result


@torch.no_grad()
def _row(case: Case, step: Step) -> tuple[list[str], dict[str, float]]:
    study = measured_study(case.phantom, (3.0, 3.0), seed=case.seed, sequences=GUIDES[case.guides])
    inside = cropped(study)
    ours = uncropped(super_resolve(inside, step).maps, inside)
    before = figures(scale_guides(study).interpolated, case.phantom, study)
    anchor = figures(anchor_only(study), case.phantom, study)
    after = figures(ours, case.phantom, study)
    lower = {name: 100 * (1 - after[name] / before[name]) for name in _COLUMNS}
    bias = {
        quantity: max(abs(v) for name, v in after.items() if f" {quantity} bias" in name)
        for quantity in ("T1", "T2")
    }
    residual = max(v for name, v in after.items() if "residual" in name)
    cells = [
        f"{before[name]:.3f}, {anchor[name]:.3f}, {after[name]:.3f} (-{lower[name]:.0f} %)"
        for name in _COLUMNS
    ]
    cells += [
        f"{before['GM T1 error (ms)']:.0f} -> {after['GM T1 error (ms)']:.0f}",
        f"{bias['T1']:.1f}",
        f"{bias['T2']:.1f}",
        f"{residual:.1f}",
        f"{before['FLAIR SSIM']:.3f} -> {after['FLAIR SSIM']:.3f}",
    ]
    return [case.name, case.guides, *cells], after


@torch.no_grad()
def _lesion_rows(labels: Labels, step: Step) -> list[list[str]]:
    phantom = phantom_of(labels)
    lesioned, inside = with_lesion(phantom)
    seed = _FIRST_SEED + 50
    plain = measured_study(phantom, (3.0, 3.0), seed=seed)
    changed = measured_study(lesioned, (3.0, 3.0), seed=seed)
    rows = []
    for name, study in (
        ("maps and guides", changed),
        ("maps only", replace(plain, maps=changed.maps)),
        ("guides only", replace(plain, guides=changed.guides)),
    ):
        stage = super_resolve(study, step)
        ours, healthy = stage.maps[0].numpy(), phantom.maps[0].numpy()
        local = disagreement(stage.scaled, stage.maps)[0, 0].numpy()
        ratio = [np.median(ours[i][inside]) / np.median(healthy[i][inside]) for i in (1, 2)]
        rows.append([name, *[f"{r:.2f}" for r in ratio], f"{np.median(local[inside]):.1f}"])
    return rows


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line; see ``--help``."""
    parser = argparse.ArgumentParser(prog="python -m models.superres.fresh", description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA, help="shared data sets")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    step = session_step(open_session(threads=options.threads))
    table = Table(
        "case",
        "guides",
        *[f"{name}: zero-filled, anchor, ours" for name in _COLUMNS],
        "GM T1 error (ms)",
        "largest T1 bias (%)",
        "T2 bias (%)",
        "residual (SD)",
        "FLAIR SSIM",
        title="Fresh phantoms, factor 3, 1 % noise",
    )
    rows = []
    for case in cases(options.data):
        cells, values = _row(case, step)
        table.add_row(*cells)
        rows.append(values)
    console = Console(width=200)
    console.print(table)
    for name in (*_COLUMNS, "GM T1 error (ms)", "FLAIR SSIM"):
        found = [row[name] for row in rows]
        console.print(f"{name}: mean {np.mean(found):.3f}, {min(found):.3f} to {max(found):.3f}")
    lesions = Table("lesion in", "T1 in it / without", "T2", "disagreement in it (SD)")
    for row in _lesion_rows(template_labels("axial", 90), step):
        lesions.add_row(*row)
    console.print(lesions)


if __name__ == "__main__":
    main()
