"""Computes a weighted image from the PD, T1 and T2 maps of a study or of results.

``python -m app.synthetic RESULTS_OR_STUDY -o FOLDER --contrast flair --tr 9000 --te 100 --ti 2500``
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from app.order import UsageError, check_input, settings_of
from app.result_file import ExitStatus
from operators.inference.settings import DEFAULT_CONTRASTS, ContrastSettings
from operators.vocabulary.refusal import Refusal

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from operators.ingest.settings import IngestSettings
    from operators.vocabulary.run import WrittenObject

_OPTIONS = {
    "tr": ("repetition_time", "repetition time, ms"),
    "te": ("echo_time", "echo time, ms"),
    "ti": ("inversion_time", "inversion time, ms; of flair"),
    "flip_angle": ("flip_angle", "flip angle, degrees; of SPGR"),
}


def write_contrast(
    folder: Path,
    output: Path,
    contrast: ContrastSettings,
    settings: IngestSettings,
    created: datetime | None = None,
) -> list[WrittenObject]:
    """Write one weighted image of the maps in a folder as a series of MR Images.

    Super-resolved maps come before the measured ones that they were made from. The same maps and
    parameters give the same UIDs.

    Args:
        folder: a study, or results of ``superres``.
        output: where the series is written.
        contrast: which image.
        settings: how series are recognised.
        created: date and time stated in the objects; the present without it.

    Returns:
        One entry per file, with paths relative to ``output``.

    Raises:
        Refusal: the folder holds no set of maps, or the maps are not what they are said to be.
    """
    from operators.inference.map_check import check_maps
    from operators.inference.map_set import maps_for_images
    from operators.inference.synthetic_contrast import synthesised, synthetic_result
    from operators.ingest.acquire import acquire
    from operators.results.synthetic_image import write_synthetic_images
    from operators.results.write_results import write_planned

    maps = maps_for_images(acquire(folder, settings).acquisitions)
    values = maps.read()
    check_maps(values, maps.numbers)
    image = synthesised(values, maps.geometry, contrast)
    return write_planned([synthetic_result(maps, image)], output, [write_synthetic_images], created)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        check_input(options.input)
        if options.output.resolve().is_relative_to(options.input.resolve()):
            raise UsageError(f"output {options.output} lies in the input folder; name another")
        contrast = _contrast(options)
        settings = settings_of(options)
        written = write_contrast(options.input, options.output, contrast, settings.ingest)
    except UsageError as error:
        for problem in error.problems:
            sys.stderr.write(f"python -m app.synthetic: {problem}\n")
        return ExitStatus.USAGE
    except Refusal as refusal:
        sys.stderr.write(f"python -m app.synthetic: refused: {refusal}\n")
        return ExitStatus.REFUSED
    sys.stdout.write(
        f"{len(written)} images, synthetic and never acquired, lie in "
        f"{(options.output / written[0].path).parent}\n"
    )
    return ExitStatus.SUCCESS


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m app.synthetic",
        description="Computes a weighted image from the PD, T1 and T2 maps of a study or of "
        "results. It is labelled as synthetic, and replaces no acquired image.",
    )
    parser.add_argument("input", metavar="RESULTS_OR_STUDY", type=Path, help="folder with the maps")
    parser.add_argument("-o", "--output", metavar="FOLDER", type=Path, required=True)
    parser.add_argument("--contrast", choices=tuple(DEFAULT_CONTRASTS), required=True)
    parser.add_argument("--sequence", choices=("SE", "FSE", "SPGR", "FLAIR"))
    for name, (_, text) in _OPTIONS.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=float, help=text)
    parser.add_argument("--config", metavar="FILE", type=Path, help="settings")
    parser.add_argument(
        "--set", metavar="NAME=VALUE", action="append", default=[], dest="overrides"
    )
    return parser


def _contrast(options: argparse.Namespace) -> ContrastSettings:
    """The contrast asked for; what is not given is that of ``app.yaml``'s default.

    Raises:
        UsageError: the parameters do not go together.
    """
    values = DEFAULT_CONTRASTS[options.contrast].model_dump()
    given = {
        setting: getattr(options, name)
        for name, (setting, _) in _OPTIONS.items()
        if getattr(options, name) is not None
    }
    if options.sequence is not None:
        given["sequence"] = options.sequence
    try:
        return ContrastSettings(**values | given)
    except ValidationError as error:
        raise UsageError(*map(_problem, error.errors())) from None


def _problem(error: ErrorDetails) -> str:
    where = ".".join(map(str, error["loc"]))
    return f"{where} {error['msg'].removeprefix('Value error, ')}".strip()


if __name__ == "__main__":
    sys.exit(main())
