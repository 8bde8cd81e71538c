"""The command line of the node: ``python -m app.node``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from app.interruption import INTERRUPTIONS, await_next, hold_back
from app.result_file import ExitStatus

_EPILOGUE = """\
other commands:
  python -m app.node route STUDY   which rule a study would match, and why
  python -m app.node health        whether a node answers on this machine

It runs until SIGTERM, SIGINT or SIGHUP. Settings are the section 'node' of app.yaml; docs/node.md
describes them. QUANTMAP_DATABASE goes before node.database, QUANTMAP_PAGE_TOKEN before
node.page.token.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if arguments[:1] == ["route"]:
        return _route(arguments[1:])
    if arguments[:1] == ["health"]:
        return _health(arguments[1:])
    return _serve(arguments)


def _serve(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m app.node",
        description="A DICOM node that receives MR studies, analyses them and delivers results.",
        epilog=_EPILOGUE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("-m", "--model", metavar="FOLDER", type=Path, help="folder of the networks")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), help="where networks run")
    _add_configuration(parser)
    options = parser.parse_args(arguments)
    # Before the libraries that start threads are loaded.
    hold_back()
    from app.config import DEFAULT_MODELS
    from app.logs import set_up_logging
    from app.order import UsageError, check_device, settings_of

    set_up_logging()
    from app.node.node import Node, NodeInUseError, from_environment

    try:
        settings = from_environment(settings_of(options))
        check_device(settings)
        node = Node(settings, options.model or DEFAULT_MODELS)
        node.start()
    except UsageError as error:
        return _refuse(error.problems)
    except (NodeInUseError, OSError, ValueError) as error:
        return _refuse([str(error)])
    while await_next() not in INTERRUPTIONS:
        pass
    node.stop()
    sys.stderr.flush()
    # Whatever is still running resumes at the next start, as after a kill.
    os._exit(ExitStatus.SUCCESS)


def _route(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m app.node route",
        description="Says which rule of node.routes a study would match, and why; runs nothing.",
    )
    parser.add_argument("input", metavar="STUDY", type=Path, help="folder of DICOM files")
    parser.add_argument("--calling-ae", default="", help="AE title that would send it")
    parser.add_argument("--called-ae", default="", help="AE title that would be called")
    _add_configuration(parser)
    options = parser.parse_args(arguments)
    from app.node.dry_run import explain
    from app.order import UsageError, check_input, settings_of

    try:
        settings = settings_of(options)
        check_input(options.input)
    except UsageError as error:
        return _refuse(error.problems)
    sys.stdout.writelines(
        f"{line}\n"
        for line in explain(settings, options.input, options.calling_ae, options.called_ae)
    )
    return ExitStatus.SUCCESS


def _health(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m app.node health",
        description="Says whether a node answers on this machine, by the port of its page.",
    )
    _add_configuration(parser)
    options = parser.parse_args(arguments)
    from app.node.health import ask
    from app.order import UsageError, settings_of

    try:
        settings = settings_of(options)
    except UsageError as error:
        return _refuse(error.problems)
    alive, word = ask(settings.node.page)
    sys.stdout.write(f"{word}\n")
    return ExitStatus.SUCCESS if alive else ExitStatus.FAULT


def _add_configuration(parser: argparse.ArgumentParser) -> None:
    config = os.environ.get("HOLOSCAN_CONFIG_PATH")
    parser.add_argument(
        "--config",
        metavar="FILE",
        type=Path,
        default=Path(config) if config else None,
        help="settings (default: app.yaml of QuantMAP)",
    )
    parser.add_argument(
        "--set",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        dest="overrides",
        help="one setting, such as node.receive.port=11113; may be repeated",
    )


def _refuse(problems: Sequence[str]) -> int:
    for problem in problems:
        print(f"python -m app.node: {problem}", file=sys.stderr)
    return ExitStatus.USAGE


if __name__ == "__main__":
    sys.exit(main())
