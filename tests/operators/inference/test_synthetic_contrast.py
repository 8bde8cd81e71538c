"""Synthetic images obey their signal equations."""

from __future__ import annotations

import highdicom as hd
import numpy as np
import pytest
from pydantic import ValidationError

from operators.inference.settings import DEFAULT_CONTRASTS, ContrastSettings
from operators.inference.synthetic_contrast import synthesised

SHAPE = (2, 3, 4)
GRID = hd.VolumeGeometry(np.eye(4), SHAPE, "PATIENT", frame_of_reference_uid="1.2.3")


def image(tissue: tuple[float, float, float], **contrast: object) -> float:
    maps = np.broadcast_to(np.array(tissue, np.float32)[:, None, None, None], (3, *SHAPE)).copy()
    maps[:, 0, 0, 0] = 0
    found = synthesised(maps, GRID, ContrastSettings.model_validate(contrast))
    assert found.volume.array[0, 0, 0] == 0
    return float(found.volume.array[1, 2, 3])


def test_long_repetition_and_short_echo_leave_the_proton_density():
    assert image(
        (0.8, 900, 80), contrast="pdw", repetition_time=100000, echo_time=0
    ) == pytest.approx(0.8, rel=1e-4)


def test_the_echo_decays_with_t2():
    short, long = (
        image((1, 1000, 80), contrast="t2w", repetition_time=5000, echo_time=te) for te in (20, 100)
    )
    assert long / short == pytest.approx(np.exp(-80 / 80), rel=1e-4)


def test_fluid_is_nulled_where_it_must_be():
    fluid = {"contrast": "flair", "repetition_time": 9000, "echo_time": 100}
    nulled = image((1, 4160, 1650), inversion_time=2431, **fluid)
    assert nulled < 0.01 < image((1, 4160, 1650), inversion_time=1500, **fluid)


def test_an_spgr_at_its_ernst_angle_is_brightest():
    t1, tr = 900, 15
    ernst = float(np.degrees(np.arccos(np.exp(-tr / t1))))
    signals = [
        image(
            (1, t1, 80), contrast="t1w", sequence="SPGR", repetition_time=tr, echo_time=3,
            flip_angle=angle,
        )
        for angle in (0.7 * ernst, ernst, 1.4 * ernst)
    ]  # fmt: skip
    assert signals[1] == max(signals)


@pytest.mark.parametrize(
    "changes",
    [
        {"contrast": "flair", "inversion_time": None},
        {"contrast": "t1w", "inversion_time": 500},
        {"contrast": "t1w", "sequence": "SPGR"},
        {"contrast": "t2w", "echo_time": 5000},
        {"contrast": "flair", "inversion_time": 10000},
        {"contrast": "flair", "sequence": "SE"},
        {"contrast": "pdw", "repetition_time": 0},
    ],
)
def test_parameters_that_do_not_go_together_are_refused(changes):
    with pytest.raises(ValidationError):
        ContrastSettings(**DEFAULT_CONTRASTS[changes["contrast"]].model_dump() | changes)
