"""A real human Z-spectrum at 7 T, as DICOM through the whole chain, beside its delivered B0 map.

Only the pixels are real: the data set (CEST_EVAL, github.com/cest-sources) holds them as a
MATLAB file, so the test puts them into MR headers. 57 offsets, 0.9 µT, one slice; B0 was
mapped from the phase of a gradient echo.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
import scipy.io
import yaml
from pydicom import dcmread
from scipy import ndimage

from app.demo.mr_series import write_mr_series
from models.cest_mt.zspectrum import SpectrumSamples, normalised, water_line

ROOT = Path(__file__).resolve().parents[2]
PROTOCOL = {
    "name": "human_7t",
    "field_strength": 6.98,
    "analysis": "z_spectrum",
    "normalisation": "first",
    "relaxed_start": True,
    "preparation": [{"pulse_train": {"pulses": 50, "duration": 0.05, "gap": 0.05}}],
}


@pytest.fixture(scope="module")
def human(shared_data: Callable[[str], Path]) -> dict[str, np.ndarray]:
    """offsets (64,) with NaN for M0, images (rows, columns, 64) as acquired, b0, brain."""
    file = shared_data("cest_zspectrum_human_7t") / "example_data" / "Example_data.mat"
    content = scipy.io.loadmat(file)
    sequence = content["P"]["SEQ"][0, 0]
    saturated = sequence["index_no_M0"][0, 0].ravel().astype(int) - 1
    unsaturated = sequence["index_M0"][0, 0].ravel().astype(int) - 1
    images = np.zeros((128, 108, 64))
    offsets = np.full(64, np.nan)
    images[..., saturated] = content["Mz_stack"][:, :, 0]
    offsets[saturated] = sequence["w"][0, 0].ravel()
    # The data set holds the seven M0 images interpolated linearly to the other images: the
    # lines through neighbours meet in what was measured.
    interpolated = content["M0_stack"][:, :, 0]
    for index in unsaturated:
        step = 1 if index == 0 else -1
        nearest, next_one = (
            interpolated[..., int(np.flatnonzero(saturated == index + k * step)[0])] for k in (1, 2)
        )
        images[..., index] = np.maximum(2 * nearest - next_one, 0)
    b0 = content["dB0_stack_ext"]
    return {
        "offsets": offsets,
        "images": images,
        "m0": unsaturated,
        "b0": b0,
        "brain": _brain(np.isfinite(b0) & (images[..., 0] > 90)),
    }


def _brain(tissue: np.ndarray) -> np.ndarray:
    """The brain without scalp (cut off by an opening) and without its rim of two voxels.

    In the rim, fat from the scalp is folded into the line of water.
    """
    labels, _ = ndimage.label(ndimage.binary_erosion(tissue, iterations=2))
    core = labels == labels[64, 50]
    brain = ndimage.binary_dilation(core, iterations=2) & tissue
    return ndimage.binary_erosion(brain, iterations=2)


@pytest.fixture(scope="module")
def results(human: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The result folder of the application."""
    folder = tmp_path_factory.mktemp("human")
    table = {
        "b1": [None if np.isnan(one) else 0.9 for one in human["offsets"]],
        "offsets": [None if np.isnan(one) else one for one in human["offsets"].tolist()],
        "m0": human["m0"].tolist(),
    }
    protocol = folder / "human_7t.yaml"
    protocol.write_text(yaml.safe_dump({**PROTOCOL, "images": table}))
    write_mr_series(
        folder / "study",
        human["images"][np.newaxis],
        np.array([[0, 0, 1.7, 0], [0, 1.7, 0, 0], [5, 0, 0, 0], [0, 0, 0, 1]], dtype=float),
        uid_prefix="1.2.826.0.1.3680043.8.498.302",
        common={
            "PatientName": "QUANTMAP^HUMAN",
            "SeriesDescription": "Z-spectrum",
            "BodyPartExamined": "HEAD",
            "MagneticFieldStrength": 7,
        },
        per_volume=[
            {"TemporalPositionIdentifier": index + 1, "AcquisitionNumber": index + 1}
            for index in range(64)
        ],
    )
    settings = yaml.safe_load((ROOT / "app.yaml").read_text())
    rule = {
        "when": {"SeriesDescription": {"matches": "Z-spectrum"}},
        "protocol": str(protocol),
    }
    config = folder / "app.yaml"
    config.write_text(yaml.safe_dump({**settings, "ingest": {"saturation": [rule]}}))
    command = [sys.executable, "-m", "app", "-i", str(folder / "study"), "-o"]
    command += [str(folder / "results"), "--config", str(config), "--device", "cpu"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return folder / "results"


@pytest.fixture(scope="module")
def maps(results: Path) -> dict[str, np.ndarray]:
    """(rows, columns) of every quantity, from the written Parametric Maps."""
    found = {}
    for item in json.loads((results / "result.json").read_text())["outputs"]:
        if item["kind"] == "parametric map":
            dataset = dcmread(results / item["path"])
            volume = hd.pm.ParametricMap.from_dataset(dataset).get_volume()
            found[item["quantity"]] = np.asarray(volume.array).squeeze()
    return found


def test_the_field_map_agrees_with_the_delivered_one(
    human: dict[str, np.ndarray], maps: dict[str, np.ndarray]
) -> None:
    ours, theirs = maps["b0_shift"][human["brain"]], human["b0"][human["brain"]]
    assert len(ours) > 5000
    assert np.corrcoef(ours, theirs)[0, 1] >= 0.95
    slope, offset = np.polyfit(theirs, ours, 1)
    assert 0.8 < slope < 1.2
    assert abs(offset) < 0.02


def test_single_voxels_agree_before_smoothing(human: dict[str, np.ndarray]) -> None:
    signals = human["images"][human["brain"]]
    images = np.flatnonzero(np.isfinite(human["offsets"]))
    samples = SpectrumSamples(images, human["offsets"][images])
    z = normalised(signals, samples, tuple(human["m0"].tolist()))
    shift = water_line(samples.offsets, z).shift
    found = np.isfinite(shift)
    assert found.mean() > 0.99
    theirs = human["b0"][human["brain"]]
    assert np.corrcoef(shift[found], theirs[found])[0, 1] > 0.9
    assert np.median(np.abs(shift - theirs)[found]) < 0.015


def test_pools_have_the_amplitudes_of_a_brain_at_7_tesla(
    human: dict[str, np.ndarray], maps: dict[str, np.ndarray]
) -> None:
    """Ranges around those of Windschuh et al. 2015 (doi 10.1002/nbm.3283), in percent."""
    medians = {name: float(np.median(values[human["brain"]])) for name, values in maps.items()}
    assert 60 < medians["water_amplitude"] < 95
    assert 1 < medians["amide_amplitude"] < 8
    assert 4 < medians["rnoe_amplitude"] < 16
    assert 5 < medians["mt_amplitude"] < 25
    assert medians["saturation_residual"] < 5
    assert medians["mtr_asymmetry"] < 0, "rNOE outweighs amide at 0.9 µT"
