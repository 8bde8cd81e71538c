"""The demo: what it simulates, and that the application finds in it what was put in."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
from application_process import ROOT, result_in, run

from app.config import DEFAULT_FILE, Settings
from app.demo.brain_phantom import BrainPhantom, brain_phantom
from app.result_file import ResultFile, RunStatus
from app.settings_file import read_settings
from operators.ingest.acquire import acquire
from operators.vocabulary.acquisition import GradientTable, SeriesKind

# Name in the results, tissue, largest error of the mean in the unit of the map.
_EXPECTED = [
    ("mt_fraction", "white matter", 0.3),
    ("mt_fraction", "cortex", 0.3),
    ("mt_fraction", "lesion", 0.3),
    ("mt_exchange_rate", "white matter", 2.0),
    ("solute_fraction", "white matter", 0.03),
    ("solute_exchange_rate", "white matter", 25.0),
    ("mean_diffusivity", "white matter", 0.01e-3),
    ("mean_diffusivity", "lesion", 0.02e-3),
    ("mean_diffusivity", "cerebrospinal fluid", 0.03e-3),
]


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "study"
    done = subprocess.run(
        [sys.executable, "-m", "app.demo", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert str(folder) in done.stdout.splitlines()[-1]
    return folder


@pytest.fixture(scope="module")
def phantom() -> BrainPhantom:
    return brain_phantom()


def test_the_study_is_recognised_with_the_protocols_that_made_it(study):
    acquired = acquire(study, read_settings(Settings, DEFAULT_FILE).ingest)
    assert acquired.refusals == ()
    assert acquired.skipped == ()
    kinds = [acquisition.kind for acquisition in acquired.acquisitions]
    assert kinds == [
        SeriesKind.QUANTITY_MAP,
        SeriesKind.QUANTITY_MAP,
        SeriesKind.SATURATION,
        SeriesKind.SATURATION,
        SeriesKind.DIFFUSION,
    ]
    protocols = [acquisition.protocol for acquisition in acquired.acquisitions]
    assert [protocol.name for protocol in protocols[2:4]] == ["mrf_mt_3t", "mrf_amide_3t"]
    table = protocols[4]
    assert isinstance(table, GradientTable)
    assert sorted(set(table.b_values.round())) == [0, 1000]


def test_the_patient_is_a_phantom(study):
    for file in [sorted(folder.iterdir())[0] for folder in study.iterdir()]:
        data_set = pydicom.dcmread(file, stop_before_pixels=True)
        assert data_set.PatientName == "QUANTMAP^PHANTOM"


def test_a_folder_in_use_is_left_alone(study):
    done = subprocess.run(
        [sys.executable, "-m", "app.demo", str(study)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "not empty" in done.stderr


def published(result: ResultFile, folder: Path, quantity: str) -> np.ndarray:
    """(slices, rows, columns) float map, slices from foot to head."""
    (path,) = [
        output.path
        for output in result.outputs
        if output.quantity == quantity and output.kind == "parametric map"
    ]
    data_set = pydicom.dcmread(folder / path)
    heights = [
        float(group.PlanePositionSequence[0].ImagePositionPatient[2])
        for group in data_set.PerFrameFunctionalGroupsSequence
    ]
    frames = np.frombuffer(data_set.FloatPixelData, np.float32)
    return frames.reshape(-1, data_set.Rows, data_set.Columns)[np.argsort(heights)]


def test_the_application_finds_what_was_put_in(study, phantom, tmp_path):
    process = run("-i", study, "-o", tmp_path)
    assert process.returncode == 0, process.stderr
    result = result_in(tmp_path)
    assert result.status is RunStatus.SUCCESS
    for quantity, tissue, tolerance in _EXPECTED:
        pure = phantom.shares[tissue] > 0.99
        attribute = quantity.replace("mean_diffusivity", "diffusivity")
        found = published(result, tmp_path, quantity)[pure].mean()
        truth = phantom.values(tissue, attribute)[pure].mean()
        assert abs(found - truth) < tolerance, (quantity, tissue, found, truth)
