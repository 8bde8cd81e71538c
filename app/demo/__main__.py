"""Simulates a DICOM study of a brain phantom: ``python -m app.demo FOLDER``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def main() -> None:
    """Write the study and say what to do with it."""
    parser = argparse.ArgumentParser(prog="python -m app.demo", description=__doc__)
    parser.add_argument("folder", type=Path, help="where the study is written")
    parser.add_argument(
        "--coarse-maps",
        action="store_true",
        help="coarse PD, T1 and T2 maps with sharp images, for super-resolution, instead of "
        "fingerprints and diffusion",
    )
    options = parser.parse_args()
    folder = options.folder
    if folder.exists() and any(folder.iterdir()):
        parser.error(f"{folder} is not empty")

    # Torch takes seconds to load, and a wrong argument should be answered at once.
    if options.coarse_maps:
        from app.demo.coarse_maps import write_coarse_study as write_study
    else:
        from app.demo.study import write_study

    files = write_study(folder)
    sys.stdout.write(
        f"A study of {files} DICOM files lies in {folder}.\n"
        f"Analyse it: python -m app -i {folder} -o RESULTS\n"
    )


if __name__ == "__main__":
    main()
