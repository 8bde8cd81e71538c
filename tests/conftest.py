"""Fixtures shared by all tests: other people's data, and the tools that read our objects."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.peer_programs import peer_program

ROOT = Path(__file__).resolve().parents[1]


def _absent(reason: str) -> None:
    """Skip with ``reason``; fail instead where QUANTMAP_REQUIRE_PEERS is set, as in CI."""
    if os.environ.get("QUANTMAP_REQUIRE_PEERS"):
        pytest.fail(f"required here, but {reason}")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def shared_data() -> Callable[[str], Path]:
    """Gives the folder of a real data set by name; see ``docs/development.md``."""
    root = Path(os.environ.get("QUANTMAP_DATA", ROOT.parent / "shared" / "data"))

    def folder(name: str) -> Path:
        if not (root / name).exists():
            _absent(f"the data set {name} is not in {root} (set QUANTMAP_DATA)")
        return root / name

    return folder


@pytest.fixture(scope="session")
def tool() -> Callable[[str], str]:
    """Gives the path of a command-line peer by name."""

    def path(name: str) -> str:
        found = peer_program(name)
        if found is None:
            _absent(f"the tool {name} is not installed (.ci/run installs it)")
        return found

    return path
