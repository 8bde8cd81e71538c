"""A volunteer's acquired MPRAGE, T2w and FLAIR in real MR headers, through the whole chain.

The low-resolution maps are made from these images (``models/superres/human.py``), since no public
study has maps beside routine images. The FLAIR is no guide: it is what the result must predict.
"""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import torch

from app.demo.mr_series import write_mr_series
from models.superres.evaluate import human_similarities
from models.superres.human import HumanSlices, human_slices
from models.superres.signal import FastSpinEcho, Mprage
from operators.inference.bundle import load_bundles
from operators.inference.settings import SuperresSettings
from operators.inference.superres import superres_outcome
from operators.ingest.acquire import acquire
from operators.ingest.settings import IngestSettings
from operators.vocabulary.result import PipelineResult

SharedData = Callable[[str], Path]

UID = "1.2.826.0.1.3680043.10.3"
SLICES = list(range(96, 108, 2))
MAPS = ("PD", "T1", "T2")
ROOT = Path(__file__).resolve().parents[2]


def real_mprage_header(folder: Path) -> dict[str, Any]:
    """How a Philips scanner says that a series is an MPRAGE: no TI, echo spacing as TR."""
    (path,) = (folder / "dicom" / "cl").glob("1301_0001.dcm.gz")
    header = pydicom.dcmread(io.BytesIO(gzip.decompress(path.read_bytes())), force=True)
    kept = ("Manufacturer", "ManufacturerModelName", "ScanningSequence", "SequenceVariant",
            "ScanOptions", "MRAcquisitionType", "EchoTrainLength", "MagneticFieldStrength",
            "BodyPartExamined", "PatientPosition", "ImageType", "InPlanePhaseEncodingDirection",
            "SoftwareVersions", "PercentSampling", "PixelBandwidth")  # fmt: skip
    return {name: header.get(name) for name in kept if header.get(name) is not None}


@pytest.fixture(scope="module")
def human(shared_data: SharedData) -> HumanSlices:
    return human_slices(shared_data("t1w_t2w_flair_human"), SLICES)


@pytest.fixture(scope="module")
def folder(
    human: HumanSlices, shared_data: SharedData, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("volunteer")
    real = real_mprage_header(shared_data("mr_philips_enhanced_and_classic"))
    # Slices to the head, rows to the right, columns to the back, as the data set's affine says.
    affine = np.zeros((4, 4))
    affine[2, 0], affine[0, 1], affine[1, 2], affine[3, 3] = 2.0, -1.2, 1.0, 1.0
    affine[:3, 3] = 102.0, -128.0, 0.0
    low = human.study.maps.numpy()
    shape, few = human.study.shape, low.shape[2:]
    low_affine = affine.copy()
    for axis, (many, less) in enumerate(zip(shape, few, strict=True), start=1):
        low_affine[:3, axis] *= many / less
        low_affine[:3, 3] += affine[:3, axis] * (many // 2) - low_affine[:3, axis] * (less // 2)
    # Only what the scanner's records say of TR, TE and angle; the rest is the real header's.
    acquired = {
        "t1w": {"RepetitionTime": 6.797, "EchoTime": 3.13, "FlipAngle": 8.0},
        "t2w": {"RepetitionTime": 2500.0, "EchoTime": 287.2, "FlipAngle": 90.0,
                "EchoTrainLength": 100, "ScanningSequence": "SE", "SequenceVariant": "SK"},
        "flair": {"RepetitionTime": 8000.0, "EchoTime": 331.3, "InversionTime": 2400.0,
                  "EchoTrainLength": 110, "ScanningSequence": ["SE", "IR"],
                  "SequenceVariant": "SK"},
    }  # fmt: skip
    images = [*human.study.guides.numpy().swapaxes(0, 1), human.flair.numpy()]
    for number, ((name, header), image) in enumerate(zip(acquired.items(), images, strict=True), 4):
        common = real | header | {"SeriesNumber": number, "SeriesDescription": name}
        write_mr_series(folder / name, image, affine, uid_prefix=UID, common=common)
    units = ("%", "ms", "ms")
    for number, (name, unit) in enumerate(zip(MAPS, units, strict=True), start=1):
        values = low[:, number - 1] * (100 if unit == "%" else 1)
        common = {
            "SeriesNumber": number,
            "SeriesDescription": f"{name} made from the images of this study",
            "ImageType": ["DERIVED", "PRIMARY", name],
            "RescaleType": unit,
            "BodyPartExamined": "BRAIN",
            "MagneticFieldStrength": 3.0,
        }
        write_mr_series(
            folder / name, values, low_affine, uid_prefix=UID, common=common,
            rescale_slope=0.01 if unit == "%" else 0.2,
        )  # fmt: skip
    return folder


def sharpened(folder: Path, **settings: Any) -> PipelineResult:
    outcome = superres_outcome(
        acquire(folder, IngestSettings()),
        load_bundles(ROOT / "models", "superres"),
        SuperresSettings.model_validate(settings),
        "cpu",
    )
    assert outcome.refusals == (), list(map(str, outcome.refusals))
    return outcome.results[0]


def test_an_inversion_time_that_the_scanner_does_not_write_is_asked_for(folder: Path) -> None:
    outcome = superres_outcome(
        acquire(folder, IngestSettings()),
        load_bundles(ROOT / "models", "superres"),
        SuperresSettings.model_validate({"t2w": {"series_number": 99}}),
        "cpu",
    )
    (refusal,) = outcome.refusals
    assert refusal.rule == "sequence-parameters-missing"
    assert "inversion_time" in refusal.reason


def similarities(
    human: HumanSlices, result: PipelineResult
) -> tuple[dict[str, float], dict[str, float]]:
    """SSIM against the acquired images: of the result, and of the low-resolution maps."""
    maps = torch.from_numpy(np.stack([one.volume.array for one in result.maps[:3]], axis=1))
    low = human.study.truncation.interpolate(human.study.maps) * human.study.mask
    return human_similarities(human, maps), human_similarities(human, low)


def test_the_guides_are_explained_and_the_unseen_flair_gains(
    human: HumanSlices, folder: Path
) -> None:
    """With the parameters that the low-resolution maps were made with."""
    first, second = human.study.sequences
    assert isinstance(first, Mprage)
    assert isinstance(second, FastSpinEcho)
    names = ("inversion_time", "shot_repetition_time", "readouts", "centre_readout")
    result = sharpened(
        folder,
        t1w={name: getattr(first, name) for name in names},
        t2w={"echo_time": second.effective_echo_time},
    )
    ours, before = similarities(human, result)
    assert ours["T1w"] >= 0.93
    assert ours["T2w"] >= 0.93
    assert ours["FLAIR"] > before["FLAIR"] + 0.1


def test_parameters_that_no_header_holds_are_fitted_and_told(
    human: HumanSlices, folder: Path
) -> None:
    result = sharpened(folder, t1w={"inversion_time": 842})
    fitted = [one for one in result.findings if one.code == "sequence-parameters-fitted"]
    assert ["shot repetition time" in one.message for one in fitted] == [True, False]
    assert "effective echo time" in fitted[1].message
    ours, before = similarities(human, result)
    assert all(ours[name] > before[name] + 0.1 for name in ("T1w", "T2w", "FLAIR"))
    assert ours["T1w"] >= 0.93
    assert ours["T2w"] >= 0.93
