"""Programs of peers are found, not those of Python packages that bear their names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchmarks.peer_programs import peer_program


def _program(folder: Path, name: str) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Any Python environment first, the system second."""
    (tmp_path / "environment").mkdir()
    (tmp_path / "environment" / "pyvenv.cfg").touch()
    folders = tmp_path / "environment" / "bin", tmp_path / "system"
    monkeypatch.setenv("PATH", os.pathsep.join(map(str, folders)))
    return tmp_path


def test_a_program_of_the_system_goes_before_one_of_an_environment(path: Path) -> None:
    _program(path / "environment" / "bin", "storescu")
    wanted = _program(path / "system", "storescu")
    assert peer_program("storescu") == wanted


def test_a_program_that_only_an_environment_holds_is_found(path: Path) -> None:
    wanted = _program(path / "environment" / "bin", "dcm2niix")
    assert peer_program("dcm2niix") == wanted
    assert peer_program("storescp") is None
