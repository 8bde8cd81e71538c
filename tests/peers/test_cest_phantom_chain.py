"""The real 3 T L-arginine phantom as DICOM, through the whole chain, beside its published maps.

Only the pixels are real: no public DICOM series holds saturation-prepared images, so the test
puts them into MR headers (``cest_mrf_phantom``, Perlman et al., molecular-mrf, MIT).
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

ROOT = Path(__file__).resolve().parents[2]
MILLIMOLAR_PER_PERCENT = 110e3 / 3 / 100
"""L-arginine: three exchangeable protons a molecule, 110 M protons of water."""

RULE = {
    "ingest": {
        "saturation": [
            {
                "when": {"SeriesDescription": {"matches": "L-arginine fingerprint"}},
                "protocol": "mrf_larginine_3t",
            }
        ]
    }
}


@pytest.fixture(scope="module")
def phantom(
    shared_data: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, np.ndarray]:
    """Maps that the chain made, (88, 88), and the published ones, by name."""
    data = shared_data("cest_mrf_phantom") / "dot_prod_example"
    images = scipy.io.loadmat(data / "data" / "acquired_data3T.mat")["dataToMatch"]
    # (1, rows, columns, images). Outside the phantom the published pixels are not numbers;
    # a scanner stores 0 there.
    pixels = np.nan_to_num(np.moveaxis(images[:, 19:-19, :], 0, -1)[np.newaxis])
    folder = tmp_path_factory.mktemp("phantom")
    write_mr_series(
        folder / "study",
        pixels,
        np.array([[0, 0, 2, 0], [0, 2, 0, 0], [5, 0, 0, 0], [0, 0, 0, 1]], dtype=float),
        uid_prefix="1.2.826.0.1.3680043.8.498.301",
        common={
            "PatientName": "QUANTMAP^PHANTOM",
            "SeriesDescription": "L-arginine fingerprint",
            "MagneticFieldStrength": 3,
        },
        per_volume=[
            {"TemporalPositionIdentifier": index + 1, "AcquisitionNumber": index + 1}
            for index in range(pixels.shape[-1])
        ],
    )
    settings = yaml.safe_load((ROOT / "app.yaml").read_text())
    config = folder / "app.yaml"
    config.write_text(yaml.safe_dump({**settings, **RULE}))
    command = [sys.executable, "-m", "app", "-i", str(folder / "study"), "-o"]
    command += [str(folder / "results"), "--config", str(config), "--device", "cpu"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    result = json.loads((folder / "results" / "result.json").read_text())
    assert result["status"] == "success"
    maps = {}
    for item in result["outputs"]:
        if item["kind"] == "parametric map":
            dataset = dcmread(folder / "results" / item["path"])
            volume = hd.pm.ParametricMap.from_dataset(dataset).get_volume()
            maps[item["quantity"]] = np.asarray(volume.array).squeeze()
    published = scipy.io.loadmat(data / "expected_out" / "quant_maps_3T.mat")
    maps["published_mask"] = np.load(data / "mask_3T.npy")
    maps["published_fraction"] = published["fs"]
    maps["published_rate"] = published["ksw"]
    return maps


def _vial_means(phantom: dict[str, np.ndarray], name: str) -> np.ndarray:
    """Median over each vial; a connected region of the published mask is a vial."""
    labels, count = ndimage.label(phantom["published_mask"])
    return ndimage.median(phantom[name], labels, np.arange(1, count + 1))


def _normalised_error(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Root mean square difference over the published range."""
    return float(np.sqrt(np.mean((ours - theirs) ** 2)) / np.ptp(theirs))


def test_solute_concentration_of_each_vial_agrees(phantom: dict[str, np.ndarray]) -> None:
    ours = _vial_means(phantom, "solute_fraction") * MILLIMOLAR_PER_PERCENT
    theirs = _vial_means(phantom, "published_fraction") * 100 * MILLIMOLAR_PER_PERCENT
    assert np.corrcoef(ours, theirs)[0, 1] >= 0.95, (ours, theirs)
    assert _normalised_error(ours, theirs) <= 0.10, (ours, theirs)


def test_solute_exchange_rate_of_each_vial_agrees(phantom: dict[str, np.ndarray]) -> None:
    ours = _vial_means(phantom, "solute_exchange_rate")
    theirs = _vial_means(phantom, "published_rate")
    assert np.corrcoef(ours, theirs)[0, 1] >= 0.95, (ours, theirs)
    assert _normalised_error(ours, theirs) <= 0.10, (ours, theirs)
