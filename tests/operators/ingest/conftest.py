"""Series for the tests of the ingest wing, written by the demonstration's writer."""

from pathlib import Path

import numpy as np
import pytest

from app.demo.mr_series import write_mr_series
from operators.ingest.acquire import acquire
from operators.ingest.settings import IngestSettings

AXIAL = np.array([[0, 0, 2.0, -30], [0, 3.0, 0, -40], [4.0, 0, 0, 5], [0, 0, 0, 1.0]])
"""LPS affine of an axial stack: columns 2 mm along x, rows 3 mm along y, slices 4 mm along z."""


@pytest.fixture
def axial():
    return AXIAL.copy()


@pytest.fixture
def write(tmp_path):
    """Writes a series into the folder of the test; gives that folder."""

    def write_series(values, affine=AXIAL, *, common=None, **arguments) -> Path:
        write_mr_series(
            tmp_path / f"series{(common or {}).get('SeriesNumber', 1)}",
            np.asarray(values, dtype=float),
            affine,
            uid_prefix="1.2.826.0.1.3680043.10.1",
            common={"Manufacturer": "Maker", "FrameOfReferenceUID": "1.2.3.4"} | (common or {}),
            **arguments,
        )
        return tmp_path

    return write_series


@pytest.fixture
def acquired():
    """Acquires a folder; gives the AcquiredStudy."""

    def acquire_folder(folder, **settings):
        return acquire(folder, IngestSettings.model_validate(settings))

    return acquire_folder


@pytest.fixture
def only(acquired):
    """Acquires a folder that holds one good series; gives its acquisition."""

    def only_acquisition(folder, **settings):
        study = acquired(folder, **settings)
        assert study.refusals == ()
        assert len(study.acquisitions) == 1
        return study.acquisitions[0]

    return only_acquisition


@pytest.fixture
def refusal(acquired):
    """Acquires a folder of one series that must be refused; gives the refusal."""

    def only_refusal(folder, **settings):
        study = acquired(folder, **settings)
        assert study.acquisitions == ()
        assert len(study.refusals) == 1
        return study.refusals[0]

    return only_refusal


@pytest.fixture
def volumes():
    """Random whole numbers that tell every voxel of a series apart."""

    def numbers(slices=3, rows=4, columns=5, volumes=1):
        shape = (slices, rows, columns, volumes)
        size = int(np.prod(shape))
        return np.random.default_rng(size).permutation(size).reshape(shape).astype(float)

    return numbers
