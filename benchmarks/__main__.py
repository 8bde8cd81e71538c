"""Run the benchmarks: ``python -m benchmarks [NAME ...]``; without a name, all of them."""

from __future__ import annotations

import argparse
import importlib

from benchmarks.table import print_table

NAMES = (
    "start",
    "ingest",
    "node_receive",
    "node",
    "results",
    "cest_inference",
    "cest_simulator",
    "diffusion",
    "diffusion_prior",
    "diffusion_pipeline",
    "superres",
)


def main() -> None:
    """Run the named benchmarks and print one table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "names", nargs="*", choices=[[], *NAMES], metavar="NAME", help=", ".join(NAMES)
    )
    names = parser.parse_args().names or NAMES
    rows = []
    for name in names:
        rows.extend(importlib.import_module(f"benchmarks.{name}").run())
    print_table(rows)


if __name__ == "__main__":
    main()
