"""``inspect`` names every series, what could run, and what was skipped or refused and why."""

from __future__ import annotations

import pytest
from application_process import SECRETS, run, write_diffusion_series


@pytest.fixture(scope="module")
def told(tmp_path_factory) -> str:
    study = tmp_path_factory.mktemp("inspected")
    write_diffusion_series(study / "a", number=1)
    write_diffusion_series(study / "b", number=2)
    # A series with a hole in it: the middle slice is gone from every volume.
    for file in sorted((study / "b").iterdir())[2::5]:
        file.unlink()
    (study / "notes.txt").write_text("no DICOM")
    process = run("inspect", study)
    assert process.returncode == 0, process.stderr
    return process.stdout


def test_series_and_b_table(told):
    assert "1\t" in told
    assert "diffusion" in told
    assert told.count("1000") >= 6
    assert "5 slices of 20 × 24 pixels, 7 volumes" in told


def test_what_could_run_and_why_not(told):
    assert "diffusion\tyes" in told
    assert "cest_mt\tno\tthe study holds no saturation series" in told


def test_refusals_and_skipped_files_stand_at_the_end(told):
    _, refused, skipped = (told.index(word) for word in ("PIPELINES", "REFUSED", "SKIPPED FILES"))
    assert refused < told.index("uneven-slice-spacing") < skipped
    assert "notes.txt\tis not a DICOM file" in told[skipped:]


def test_no_patient_is_named(told):
    assert not any(secret in told for secret in SECRETS)


def test_a_folder_that_is_not_there(tmp_path):
    process = run("inspect", tmp_path / "absent")
    assert process.returncode == 2
    assert "does not exist" in process.stderr
