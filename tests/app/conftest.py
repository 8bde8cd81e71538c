"""A small study that can be analysed, made once."""

from __future__ import annotations

from pathlib import Path

import pytest
from application_process import write_diffusion_series


@pytest.fixture(scope="session")
def small_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study with one diffusion series that can be analysed."""
    folder = tmp_path_factory.mktemp("study")
    write_diffusion_series(folder)
    return folder
