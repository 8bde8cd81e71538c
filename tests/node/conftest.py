"""Peers of the node that several tests share."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.node.database import PROGRAMS, cluster


@pytest.fixture(scope="session")
def postgres(tool: Callable[[str], str]) -> Iterator[int]:
    """Port of a PostgreSQL cluster on loopback."""
    if not (PROGRAMS / "initdb").exists():
        tool("initdb")
    with cluster() as found:
        yield found.port
