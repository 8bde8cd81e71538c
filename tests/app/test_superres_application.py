"""The application sharpens a study, and computes images of what it made."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from application_process import ROOT, objects_in, result_in, run
from pydicom import dcmread

from app.config import Settings
from app.synthetic import main
from operators.ingest.acquire import acquire
from operators.ingest.settings import IngestSettings
from tests.superres_phantom_study import (
    MPRAGE_SETTINGS,
    PhantomStudy,
    simulated,
    write_guide,
    write_phantom_study,
)

SETTINGS = [f"pipelines.superres.t1w.{name}={value}" for name, value in MPRAGE_SETTINGS.items()]


@pytest.fixture(scope="module")
def study() -> PhantomStudy:
    return simulated((8, 64, 64))


@pytest.fixture(scope="module")
def input_folder(study: PhantomStudy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_phantom_study(tmp_path_factory.mktemp("study"), study)
    write_guide(folder, study, "t1w", {"SeriesNumber": 9, "ContrastBolusAgent": "Gadovist"})
    return folder


@pytest.fixture(scope="module")
def results(input_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    before = objects_in(input_folder)
    folder = tmp_path_factory.mktemp("results") / "out"
    options = [word for setting in SETTINGS for word in ("--set", setting)]
    done = run("-i", input_folder, "-o", folder, "--device", "cpu", *options)
    assert done.returncode == 0, done.stderr
    assert objects_in(input_folder) == before
    return folder


def test_the_result_says_what_was_used(results: Path) -> None:
    result = result_in(results)
    states = {one.name: one.state for one in result.pipelines}
    assert states == {"diffusion": "idle", "cest_mt": "idle", "superres": "ran"}
    assert [one.number for one in result.inputs_used] == [1, 2, 3, 4, 5]
    assert [one.number for one in result.inputs_not_used] == [6, 9]
    left = [one for one in result.findings if one.code == "guide-left-alone"]
    assert "contrast agent" in left[0].message


def test_every_kind_of_object_is_there(results: Path) -> None:
    kinds = {one.kind for one in result_in(results).outputs}
    assert kinds == {
        "parametric map", "viewer image", "synthetic image", "segmentation", "tissue fractions",
        "measurement report", "summary page", "summary picture",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "token", "inversion_time"),
    [("t1w", "T1W", None), ("t2w", "T2W", None), ("pdw", "PDW", None), ("flair", "FLAIR", 2500)],
)
def test_synthetic_images_say_so(
    results: Path, study: PhantomStudy, name: str, token: str, inversion_time: float | None
) -> None:
    paths = sorted((results / "superres-series-2" / "synthetic" / name).glob("*.dcm"))
    assert len(paths) == 8
    image = dcmread(paths[3])
    assert list(image.ImageType) == ["DERIVED", "PRIMARY", token, "SYNTHETIC"]
    assert "synthetic" in image.SeriesDescription
    assert "not acquired" in image.ImageComments
    assert image.get("InversionTime") == inversion_time
    assert (image.Rows, image.Columns) == (64, 64)
    place = study.affine @ [3, 0, 0, 1]
    np.testing.assert_allclose(image.ImagePositionPatient, place[:3], atol=1e-4)
    assert "RescaleSlope" not in image


def test_synthetic_images_are_no_input_of_a_next_run(results: Path) -> None:
    found = acquire(results, IngestSettings())
    synthetic = {
        dcmread(path, specific_tags=["SeriesInstanceUID"]).SeriesInstanceUID
        for path in results.rglob("synthetic/*/0001.dcm")
    }
    assert not synthetic & {one.source.series_instance_uid for one in found.acquisitions}


def test_any_contrast_is_computed_from_the_results(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--contrast", "flair", "--tr", "9000", "--te", "90", "--ti", "2400"]
    assert main([str(results), "-o", str(tmp_path), *options]) == 0
    assert "never acquired" in capsys.readouterr().out
    first = sorted(tmp_path.rglob("*.dcm"))
    assert len(first) == 8
    image = dcmread(first[0])
    assert (image.RepetitionTime, image.EchoTime, image.InversionTime) == (9000, 90, 2400)
    assert (image.Rows, image.Columns) == (64, 64), "of the super-resolved maps"
    uid = image.SOPInstanceUID
    assert main([str(results), "-o", str(tmp_path), *options]) == 0
    assert dcmread(first[0]).SOPInstanceUID == uid
    assert main([str(results), "-o", str(tmp_path), *options[:-1], "2300"]) == 0
    assert dcmread(first[0]).SOPInstanceUID != uid


def test_a_contrast_of_the_measured_maps(input_folder: Path, tmp_path: Path) -> None:
    assert main([str(input_folder), "-o", str(tmp_path), "--contrast", "pdw"]) == 0
    assert dcmread(next(tmp_path.rglob("*.dcm"))).Rows == 32


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        (["--contrast", "flair", "--ti", "-1"], 2, "inversion_time"),
        (["--contrast", "t1w", "--te", "900"], 2, "echo_time must be shorter"),
        (["--contrast", "t1w", "--sequence", "SPGR"], 2, "flip_angle"),
    ],
)
def test_parameters_that_make_no_image(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    options: list[str], status: int, said: str,
) -> None:  # fmt: skip
    assert main([str(results), "-o", str(tmp_path / "out"), *options]) == status
    assert said in capsys.readouterr().err


def test_a_folder_without_maps_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    status = main([str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--contrast", "pdw"])
    assert status == 3
    assert "maps-missing" in capsys.readouterr().err


def test_the_settings_file_states_the_defaults() -> None:
    from app.settings_file import read_settings

    stated = read_settings(Settings, ROOT / "app.yaml", [])
    assert stated.pipelines.superres == Settings().pipelines.superres
