"""What answers at once does not load what takes seconds to load."""

from __future__ import annotations

import subprocess
import sys

import pytest
from application_process import ROOT

from app.pipelines import PIPELINES

_HEAVY = ("monai", "torch", "onnxruntime", "matplotlib", "holoscan")
_RUN = """
import runpy, sys
sys.argv = ["app", *sys.argv[1:]]
try:
    runpy.run_module("app", run_name="__main__")
except SystemExit as ended:
    print("status", ended.code or 0)
print("heavy", *[name for name in {heavy} if name in sys.modules])
"""


def run(*arguments: object) -> tuple[int, list[str], str]:
    """Exit status, heavy modules that were loaded, standard error."""
    done = subprocess.run(
        [sys.executable, "-c", _RUN.format(heavy=_HEAVY), *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    told = [line for line in done.stdout.splitlines() if line.startswith(("status", "heavy"))]
    status, heavy = told[-2:]
    return int(status.split()[1]), heavy.split()[1:], done.stderr


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_and_version(option):
    assert run(option)[:2] == (0, [])


def test_help_names_every_pipeline():
    done = subprocess.run(
        [sys.executable, "-m", "app", "--help"], cwd=ROOT, capture_output=True, text=True
    )
    assert all(name in done.stdout for name in PIPELINES)


def test_inspect(small_study):
    assert run("inspect", small_study)[:2] == (0, [])


def test_configuration_errors(small_study, tmp_path):
    status, heavy, error = run(
        "-i", small_study, "-o", tmp_path / "out", "--set", "pipelines.difusion.fit=ordinary"
    )
    assert (status, heavy) == (2, [])
    assert "did you mean pipelines.diffusion" in error


def test_a_missing_input_folder(tmp_path):
    status, heavy, error = run("-i", tmp_path / "absent", "-o", tmp_path / "out")
    assert (status, heavy) == (2, [])
    assert "does not exist" in error
