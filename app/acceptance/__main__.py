"""Site acceptance: ``python -m app.acceptance FOLDER``.

Analyses a phantom through the same command that analyses patients and compares what it finds with
what it must find: by default a brain that is simulated on the spot, with ``--study`` and
``--expected`` a phantom that the site has scanned. Writes ``acceptance.json`` and prints a table;
exit status 0 where every line passed, 1 where one did not, 2 where it could not be run.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import highdicom as hd
from pydantic import BaseModel, ConfigDict
from rich.console import Console
from rich.table import Table

from app.acceptance.comparison import AcceptanceLine, compare, maps_of
from app.acceptance.expectation import Ball, Expectation, read_expected_values
from app.settings_file import ConfigurationError
from operators.vocabulary.quantity import QUANTITIES
from operators.vocabulary.version import VERSION

_WIDTH = 110


class AcceptanceReport(BaseModel):
    """What ``acceptance.json`` holds.

    Attributes:
        phantom: what was analysed.
        version: version of QuantMAP.
        performed: UTC, ISO 8601.
        passed: whether every line did.
        lines: the comparisons.
    """

    model_config = ConfigDict(frozen=True)

    phantom: str
    version: str
    performed: str
    passed: bool
    lines: tuple[AcceptanceLine, ...]


def main() -> int:
    """Run the acceptance; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m app.acceptance", description=__doc__)
    parser.add_argument("folder", type=Path, help="empty or new folder for study and results")
    parser.add_argument("--study", type=Path, help="scanned phantom instead of the simulated one")
    parser.add_argument("--expected", type=Path, help="YAML file with its expected values")
    parser.add_argument("--device", default="auto", help="where networks run (default: auto)")
    options = parser.parse_args()
    if (options.study is None) != (options.expected is None):
        parser.error("--study and --expected go together")
    if options.folder.exists() and any(options.folder.iterdir()):
        parser.error(f"{options.folder} is not empty; name a new folder")
    try:
        report = _accept(options)
    except (ConfigurationError, ValueError) as problem:
        sys.stderr.write(f"python -m app.acceptance: {problem}\n")
        return 2
    (options.folder / "acceptance.json").write_text(
        report.model_dump_json(indent=2) + "\n", encoding="utf-8"
    )
    _show(report)
    return 0 if report.passed else 1


def _accept(options: argparse.Namespace) -> AcceptanceReport:
    expected: list[Expectation | Ball]
    if options.study is None:
        # It simulates with torch, which takes seconds to load.
        from app.acceptance.simulated import PHANTOM, expectations

        phantom, expected = PHANTOM, list(expectations())
        studies = [options.folder / "study", options.folder / "study-coarse-maps"]
        _run("app.demo", studies[0])
        _run("app.demo", studies[1], "--coarse-maps")
    else:
        values = read_expected_values(options.expected)
        studies, phantom, expected = [options.study], values.phantom, list(values.regions)
    maps: dict[str, hd.Volume] = {}
    for number, study in enumerate(studies, start=1):
        results = options.folder / ("results" if number == 1 else f"results-{number}")
        _run("app", "-i", study, "-o", results, "--device", options.device)
        maps |= maps_of(results)
    lines = tuple(compare(maps, expected))
    return AcceptanceReport(
        phantom=phantom,
        version=VERSION,
        performed=datetime.now(UTC).isoformat(timespec="seconds"),
        passed=all(line.passed for line in lines),
        lines=lines,
    )


def _run(module: str, *arguments: Path | str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])},
        check=False,
    )
    if done.returncode:
        raise ValueError(f"python -m {module} ended with status {done.returncode}; see above")


def _show(report: AcceptanceReport) -> None:
    table = Table(title=f"{report.phantom}: {'passed' if report.passed else 'FAILED'}")
    for column in ("quantity", "region", "voxels", "expected", "measured", "tolerance", ""):
        table.add_column(column, overflow="fold")
    for line in report.lines:
        table.add_row(
            rf"{QUANTITIES[line.quantity].label} \[{line.unit}]",
            line.region,
            str(line.voxels),
            f"{line.expected:.4g}",
            "no map" if line.measured is None else f"{line.measured:.4g}",
            f"{line.tolerance:.2g}",
            "passed" if line.passed else "FAILED",
        )
    console = Console()
    # A file or a log has no width of its own.
    (console if console.is_terminal else Console(width=_WIDTH)).print(table)


if __name__ == "__main__":
    sys.exit(main())
