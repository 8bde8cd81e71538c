"""Turns an MR study into quantitative maps: ``python -m app -i STUDY -o RESULTS``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from app.interruption import hold_back
from app.result_file import ExitStatus
from app.supervision import Worker
from operators.vocabulary.version import VERSION

# Only what is light is imported above: --help, inspect and configuration errors answer at
# once, while the libraries of the graph take seconds to load.

_VARIABLES = {
    "input": "HOLOSCAN_INPUT_PATH",
    "output": "HOLOSCAN_OUTPUT_PATH",
    "model": "HOLOSCAN_MODEL_PATH",
    "workdir": "HOLOSCAN_WORKDIR",
}
"""MAP contract."""

_EPILOGUE = """\
exit status:
  0    success: at least one series analysed, none that was needed refused
  1    internal fault
  2    usage or configuration error
  3    refused: nothing could be analysed, or a part of the study was refused while the
       complete results of the rest are kept
  130, 143, 129  ended by SIGINT, SIGTERM or SIGHUP; nothing partial is left
result.json in the result folder states the same, with every reason.

environment (MAP contract; an option goes before its variable):
  HOLOSCAN_INPUT_PATH, HOLOSCAN_OUTPUT_PATH, HOLOSCAN_MODEL_PATH, HOLOSCAN_WORKDIR,
  HOLOSCAN_CONFIG_PATH

other commands:
  python -m app inspect STUDY    what each series is, and which pipelines could run
  python -m app.demo FOLDER      simulate a study of a brain phantom
  python -m app.synthetic STUDY  compute a weighted image from the PD, T1 and T2 maps of a study
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if arguments[:1] == ["inspect"]:
        return _inspect(arguments[1:])
    return _analyse(arguments)


def _analyse(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m app",
        description="Turns an MR study into quantitative maps.",
        epilog=_EPILOGUE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"QuantMAP {VERSION}")
    for short, name, text in (
        ("-i", "input", "folder of DICOM files"),
        ("-o", "output", "result folder"),
        ("-m", "model", "folder of the networks (default: those of QuantMAP)"),
        ("-w", "workdir", "folder for intermediate files (default: in the result folder)"),
    ):
        parser.add_argument(
            short,
            f"--{name}",
            metavar="FOLDER",
            type=Path,
            default=_from_environment(_VARIABLES[name]),
            help=text,
        )
    parser.add_argument(
        "--pipeline", metavar="NAME", help="run this pipeline alone: diffusion, cest_mt or superres"
    )
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), help="where networks run")
    _add_configuration(parser)
    options = parser.parse_args(arguments)
    hold_back()
    # It loads libraries of its own until it is given the job, and the heavy ones after that.
    worker = Worker()
    try:
        from app.order import UsageError, analyse

        try:
            return analyse(options, worker)
        except UsageError as error:
            return _refuse(error.problems)
    finally:
        worker.end()


def _inspect(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m app inspect",
        description="Lists every series, what it was recognised as, its protocol, and which "
        "pipelines could run.",
    )
    parser.add_argument("input", metavar="STUDY", type=Path, help="folder of DICOM files")
    _add_configuration(parser)
    options = parser.parse_args(arguments)

    from app.inspection import inspect
    from app.order import UsageError

    try:
        return inspect(options)
    except UsageError as error:
        return _refuse(error.problems)


def _from_environment(variable: str) -> Path | None:
    value = os.environ.get(variable)
    return Path(value) if value else None


def _add_configuration(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config",
        metavar="FILE",
        type=Path,
        default=_from_environment("HOLOSCAN_CONFIG_PATH"),
        help="settings (default: app.yaml of QuantMAP)",
    )
    parser.add_argument(
        "--set",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        dest="overrides",
        help="one setting, such as pipelines.diffusion.fit=ordinary; may be repeated",
    )


def _refuse(problems: Sequence[str]) -> int:
    for problem in problems:
        print(f"python -m app: {problem}", file=sys.stderr)
    return ExitStatus.USAGE


if __name__ == "__main__":
    sys.exit(main())
