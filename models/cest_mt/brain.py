"""A simulated brain of real anatomy: the shipped networks beside dictionary matching.

``python -m models.cest_mt.brain DATA/phantom_brain_labels`` simulates the anatomy of the MRiLab
phantom (github.com/leoliuf/MRiLab) once for each published set of tissue values, with partial
volume, variation within tissues, B0 and B1 fields and 1 % noise, and compares what the networks
and the dictionaries find with the truth. Nothing of it is used in training.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import scipy.io
import torch
from matplotlib.figure import Figure
from torch import Tensor

from models.cest_mt.bundle import NETWORKS
from models.cest_mt.dictionary import GRIDS, build_dictionary, levels_in_use, match
from models.cest_mt.evaluation import Figures, figures, table
from models.cest_mt.specification import AMIDE_3T, MT_3T, Range
from models.cest_mt.study import MAPS, Study, TissueValues, simulated_study

LITERATURE = (
    TissueValues((13.9, 5.0), (23.0, 40.0), (0.19, 0.24), (162.0, 365.0), (1084.0, 1820.0)),
    TissueValues((6.2, 3.4), (67.5, 63.5), (0.22, 0.25), (280.0, 280.0), (832.0, 1331.0)),
    TissueValues((11.2, 6.3), (29.0, 40.0), (0.31, 0.32), (42.0, 35.0), (950.0, 1450.0)),
    TissueValues((9.4, 4.2), (14.0, 35.0), (0.10, 0.17), (260.0, 130.0), (900.0, 1600.0)),
    TissueValues((18.7, 12.4), (34.0, 49.0), (0.22, 0.25), (220.0, 220.0), (1000.0, 1500.0)),
)
"""White and grey matter as different groups measured them at 3 T, as compiled in Finkelstein et
al. 2025 (doi 10.1038/s42005-025-02063-8); the last names no amide, for which the mean of the
others stands. T1 of Stanisz 2005 (doi 10.1002/mrm.20605), Wansapura 1999, and between."""

_GREY, _WHITE = 2, 3
STEP = (12, 4, 4)
"""Slices of 12 mm, rows and columns of 4 mm."""


@dataclass(frozen=True)
class Found:
    """Estimates of one study.

    Attributes:
        values: (voxels,) by quantity.
        sds: (voxels,) by quantity; empty for a dictionary.
    """

    values: dict[str, Tensor]
    sds: dict[str, Tensor]


def brain_labels(folder: Path, step: tuple[int, int, int] = STEP) -> tuple[np.ndarray, np.ndarray]:
    """White matter and brain (white and grey matter), boolean (slices, rows, columns).

    Args:
        folder: checkout with ``Resources/BrainModel.mat``, 1 mm.
        step: every how many mm a slice, row or column is taken.
    """
    labels = scipy.io.loadmat(folder / "Resources" / "BrainModel.mat")["Anatomy"]
    labels = np.moveaxis(labels, -1, 0)[tuple(slice(None, None, one) for one in step)]
    return labels == _WHITE, (labels == _WHITE) | (labels == _GREY)


def by_networks(study: Study, networks: Path) -> Found:
    """Both stages with the ONNX files: the amide network takes what the semisolid one finds."""
    values: dict[str, Tensor] = {}
    sds: dict[str, Tensor] = {}
    maps: dict[str, np.ndarray] = {}
    for specification in (MT_3T, AMIDE_3T):
        session = onnxruntime.InferenceSession(
            networks / specification.name / "model.onnx", providers=["CPUExecutionProvider"]
        )
        voxels = study.voxels(specification, maps)
        features = {"signal": voxels.signal.numpy()}
        for column, quantity in enumerate(specification.conditions):
            features[quantity.name] = voxels.conditions[:, column : column + 1].numpy()
        names = [output.name for output in session.get_outputs()]
        answer = dict(zip(names, session.run(names, features), strict=True))
        for quantity in specification.parameters:
            values[quantity.name] = torch.from_numpy(answer[quantity.name][:, 0])
            sds[quantity.name] = torch.from_numpy(answer[f"{quantity.name}_sd"][:, 0])
            maps[quantity.name] = _placed(values[quantity.name], study.mask)
    return Found(values, sds)


def by_dictionaries(studies: list[Study], device: str) -> list[Found]:
    """Both stages by matching with the dictionaries of ``dictionary.py``."""
    found: list[Found] = [Found({}, {}) for _ in studies]
    for specification in (MT_3T, AMIDE_3T):
        known = [quantity.name for quantity in specification.conditions]
        names = [quantity.name for quantity in specification.varied]
        voxels_of = []
        for study, one in zip(studies, found, strict=True):
            maps = {name: _placed(values, study.mask) for name, values in one.values.items()}
            voxels_of.append(study.voxels(specification, maps).to(device))
        everywhere = torch.cat([voxels.conditions for voxels in voxels_of])
        grid = levels_in_use(GRIDS[specification.name], dict(zip(known, everywhere.T, strict=True)))
        dictionary = build_dictionary(specification, grid, known, device)
        for voxels, one in zip(voxels_of, found, strict=True):
            told = dict(zip(known, voxels.conditions.T, strict=True))
            matched = match(dictionary, voxels.signal, told).values.cpu()
            for quantity in specification.parameters:
                one.values[quantity.name] = matched[:, names.index(quantity.name)]
    return found


def _placed(values: Tensor, mask: np.ndarray) -> np.ndarray:
    image = np.zeros(mask.shape, np.float32)
    image[mask] = values.numpy()
    return image


def compare(studies: list[Study], found: dict[str, list[Found]]) -> list[tuple[str, Figures]]:
    """Figures over the voxels of all studies, by name of the estimator."""
    rows = []
    for label, estimates in found.items():
        for quantity in (*MT_3T.parameters, *AMIDE_3T.parameters):
            truth, values, sds = (
                torch.cat(parts).float()
                for parts in (
                    [torch.from_numpy(s.truth[quantity.name][s.mask]) for s in studies],
                    [one.values[quantity.name] for one in estimates],
                    [one.sds.get(quantity.name, torch.zeros(0)) for one in estimates],
                )
            )
            rows.append((label, figures(quantity, truth, values, sds if len(sds) else None)))
    return rows


def draw(study: Study, found: dict[str, Found], file: Path) -> None:
    """Draws the middle slice: truth, every estimate, and the networks' SD, as a PNG."""
    middle = len(study.mask) // 2
    quantities = (*MT_3T.parameters, *AMIDE_3T.parameters)
    figure = Figure(figsize=(3 * (len(found) + 2), 3 * len(quantities)), layout="constrained")
    panels = figure.subplots(len(quantities), len(found) + 2)
    for row, quantity in zip(panels, quantities, strict=True):
        shown = {"truth": np.where(study.mask, study.truth[quantity.name], 0)}
        shown |= {
            name: _placed(one.values[quantity.name], study.mask) for name, one in found.items()
        }
        shown["SD"] = _placed(found["networks"].sds[quantity.name], study.mask)
        largest = _window(quantity)
        for axis, (name, image) in zip(row, shown.items(), strict=True):
            top = largest / 4 if name == "SD" else largest
            drawn = axis.imshow(image[middle], vmin=0, vmax=top, cmap="viridis")
            axis.set_title(f"{quantity.name}, {name}", fontsize=8)
            axis.set_axis_off()
        figure.colorbar(drawn, ax=row[-1], shrink=0.7)
    figure.savefig(file, dpi=80)


def _window(quantity: Range) -> float:
    return {"mt_fraction": 20.0, "mt_exchange_rate": 60.0, "solute_fraction": 0.5}.get(
        quantity.name, quantity.upper
    )


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line; see ``--help``."""
    parser = argparse.ArgumentParser(
        prog="python -m models.cest_mt.brain",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, help="checkout of the phantom")
    parser.add_argument("--networks", type=Path, default=NETWORKS, help="folder of the bundles")
    parser.add_argument("--noise", type=float, default=1.0, help="percent of the largest image")
    parser.add_argument("--seed", type=int, default=20)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--no-dictionary", action="store_true", help="the networks alone")
    parser.add_argument("--picture", type=Path, help="where a picture of one brain goes")
    options = parser.parse_args(arguments)
    white, brain = brain_labels(options.folder)
    studies = [
        simulated_study(
            white, brain, tissues, options.noise / 100, options.seed + i, options.device
        )
        for i, tissues in enumerate(LITERATURE)
    ]
    found = {"networks": [by_networks(s, options.networks) for s in studies]}
    if not options.no_dictionary:
        found["dictionary"] = by_dictionaries(studies, options.device)
    spread = {name: np.concatenate([s.maps[name][s.mask] for s in studies]) for name in MAPS}
    ranges = ", ".join(f"{name} {v.min():.4g} to {v.max():.4g}" for name, v in spread.items())
    sys.stdout.write(f"{len(studies)} brains of {int(brain.sum())} voxels; {ranges}\n\n")
    sys.stdout.write(table(compare(studies, found)) + "\n")
    if options.picture is not None:
        draw(studies[0], {name: one[0] for name, one in found.items()}, options.picture)


if __name__ == "__main__":
    main()
