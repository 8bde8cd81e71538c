"""``python -m app.acceptance`` as a site runs it."""

import json
import subprocess
import sys

import pytest
from application_process import ROOT


def acceptance(*arguments: object) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "app.acceptance", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("arguments", [("--study", "x"), ("--expected", "x")])
def test_a_scanned_phantom_needs_its_expected_values(tmp_path, arguments):
    done = acceptance(tmp_path / "new", *arguments)
    assert done.returncode == 2
    assert "go together" in done.stderr


def test_a_folder_in_use_is_left_alone(tmp_path):
    (tmp_path / "file").touch()
    done = acceptance(tmp_path)
    assert done.returncode == 2
    assert "not empty" in done.stderr


@pytest.mark.slow
def test_the_simulated_phantom_is_accepted(tmp_path):
    done = acceptance(tmp_path / "acceptance")
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "acceptance" / "acceptance.json").read_text())
    assert report["passed"]
    assert len(report["lines"]) > 5
