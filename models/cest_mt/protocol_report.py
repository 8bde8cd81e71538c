"""What a saturation protocol does: ``python -m models.cest_mt.protocol_report PROTOCOL``.

Simulates it in white and grey matter, draws the signals and how much each parameter moves
them, tells the least standard deviation with which the exchange parameters can be estimated
(Cramér-Rao bounds), and says how to train a network for it.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from models.cest_mt.schedule import Analysis, SaturationSchedule, builtin_schedules, load_schedule
from models.cest_mt.sensitivity import (
    MT_PARAMETERS,
    SOLUTE_PARAMETERS,
    TISSUES,
    UNITS,
    Tissue,
    cramer_rao_bounds,
    sensitivities,
    tissue_signal,
)
from models.cest_mt.specification import SPECIFICATIONS

_LABELS = {
    "mt_fraction": "f_ss",
    "mt_exchange_rate": "k_ssw",
    "solute_fraction": "f_s",
    "solute_exchange_rate": "k_sw",
}
_QUESTIONS = (
    ("MT alone", MT_PARAMETERS),
    ("solute, MT known", SOLUTE_PARAMETERS),
    ("all at once", (*MT_PARAMETERS, *SOLUTE_PARAMETERS)),
)


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line; see ``--help``."""
    parser = argparse.ArgumentParser(
        prog="python -m models.cest_mt.protocol_report",
        description="Simulate a saturation protocol and tell what it can determine.",
    )
    parser.add_argument(
        "protocol", help=f"a .yaml or .seq file, or one of {', '.join(builtin_schedules())}"
    )
    parser.add_argument(
        "--noise", type=float, default=1.0, help="noise of an image in percent of M0"
    )
    parser.add_argument("--shift", type=float, default=3.5, help="of the solute, ppm")
    parser.add_argument("--picture", type=Path, help="PNG file to draw")
    options = parser.parse_args(arguments)
    try:
        schedule = load_schedule(options.protocol)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    torch.set_num_threads(1)
    tissues = tuple(replace(tissue, solute_shift=options.shift) for tissue in TISSUES)
    console = Console(width=100)
    console.print(_signal_table(schedule, tissues))
    console.print(_bound_table(schedule, tissues, options.noise))
    console.print(how_to_train(schedule), soft_wrap=True, highlight=False)
    if options.picture is not None:
        draw(schedule, tissues, options.picture)
        console.print(f"Picture: {options.picture}", soft_wrap=True)


def how_to_train(schedule: SaturationSchedule) -> str:
    """What has to be done so that a series of this protocol gives maps."""
    if schedule.analysis is not Analysis.FINGERPRINT:
        return f"Analysed as {schedule.analysis}: no network is needed."
    names = [one.name for one in SPECIFICATIONS.values() if one.protocol == schedule.name]
    if names:
        return "Train its network: " + "; ".join(
            f"python -m models.cest_mt.train {name} --install" for name in names
        )
    return (
        "No network is described for this protocol. Put the file into "
        "models/cest_mt/protocols/, describe inputs, outputs and ranges by a "
        "NetworkSpecification in models/cest_mt/specification.py, then: "
        "python -m models.cest_mt.train NAME --install"
    )


def _signal_table(schedule: SaturationSchedule, tissues: tuple[Tissue, ...]) -> Table:
    table = Table(title=f"{schedule.name}: {schedule.number_of_images} images, signal over M0")
    for heading in ("image", "offset (ppm)", "B1 (µT)", *(tissue.name for tissue in tissues)):
        table.add_column(heading, justify="right")
    signals = [tissue_signal(schedule, tissue).tolist() for tissue in tissues]
    for index in range(schedule.number_of_images):
        saturated = schedule.b1[index] > 0
        table.add_row(
            f"{index}" + (" M0" if index in schedule.m0_images else ""),
            f"{schedule.offsets[index]:g}" if saturated else "none",
            f"{schedule.b1[index]:g}",
            *(f"{signal[index]:.4f}" for signal in signals),
        )
    return table


def _bound_table(schedule: SaturationSchedule, tissues: tuple[Tissue, ...], noise: float) -> Table:
    table = Table(title=f"Least standard deviation at {noise:g} % noise (Cramér-Rao)")
    table.add_column("estimated", no_wrap=True)
    table.add_column("tissue", no_wrap=True)
    for heading in (f"{_LABELS[name]} ({unit})" for name, unit in UNITS.items()):
        table.add_column(heading, justify="right", no_wrap=True)
    for question, unknown in _QUESTIONS:
        for tissue in tissues:
            bounds = cramer_rao_bounds(schedule, tissue, noise / 100, unknown)
            table.add_row(
                question,
                tissue.name,
                *(
                    f"{getattr(tissue, name):g} ± {bounds[name]:.2g}" if name in bounds else "known"
                    for name in UNITS
                ),
            )
    return table


def draw(schedule: SaturationSchedule, tissues: tuple[Tissue, ...], file: Path) -> None:
    """Draws signals, and the change of each by a tenth of every parameter.

    Args:
        schedule: what is played.
        tissues: to what; derivatives are those of the first.
        file: PNG to write.
    """
    figure = Figure(figsize=(8, 6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    images = range(schedule.number_of_images)
    for tissue in tissues:
        above.plot(images, tissue_signal(schedule, tissue).tolist(), ".-", label=tissue.name)
    above.set_ylabel("signal / M0")
    above.set_title(schedule.description or schedule.name)
    above.legend()
    derivative = sensitivities(schedule, tissues[0])
    for column, name in enumerate(UNITS):
        change = 0.1 * getattr(tissues[0], name) * derivative[:, column]
        below.plot(images, (100 * change).tolist(), ".-", label=_LABELS[name])
    below.axhline(0, color="black", linewidth=0.5)
    below.set_ylabel(f"change by 10 % more\nin {tissues[0].name} (% of M0)")
    below.set_xlabel("image")
    below.legend()
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=100)


if __name__ == "__main__":
    main()
