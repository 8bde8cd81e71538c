"""Writes the context of the MAP image: ``python -m package FOLDER``.

``package/build`` makes an image of it with docker or buildah.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from package.context import write_context


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m package", description=__doc__)
    parser.add_argument("folder", type=Path, help="where to write the context")
    print(write_context(parser.parse_args().folder))


if __name__ == "__main__":
    main()
