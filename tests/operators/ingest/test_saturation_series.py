"""Saturation series: recognised by rule alone, and checked against the protocol it names."""

import numpy as np
import pytest

from operators.vocabulary.acquisition import SeriesKind

PROTOCOL = """
description: three images
field_strength: 3.0
normalisation: max
checks: {field_strength: 3.0, flip_angle: 15, repetition_time: 3500}
images:
  b1: [null, 2, 3]
  offsets: 3.5
  m0: [0]
preparation:
  - pulse_train: {pulses: 1, duration: 0.1}
  - spoiler: 0.001
"""
COMMON = {
    "ProtocolName": "CEST amide",
    "MagneticFieldStrength": 2.893620,
    "FlipAngle": 15,
    "RepetitionTime": 3500,
}


@pytest.fixture
def rule(tmp_path_factory):
    path = tmp_path_factory.mktemp("protocols") / "three_images.yaml"
    path.write_text(PROTOCOL)
    return {"when": {"ProtocolName": {"matches": "cest"}}, "protocol": str(path)}


def test_a_rule_gives_the_schedule_and_the_order_of_acquisition(write, volumes, only, rule):
    values = volumes(volumes=3)
    # Written last to first: the temporal position decides, not the file name.
    per_volume = [
        {"TemporalPositionIdentifier": 3 - index, "AcquisitionTime": f"1000{30 - 10 * index}"}
        for index in range(3)
    ]
    acquisition = only(write(values, per_volume=per_volume, common=COMMON), saturation=[rule])
    assert acquisition.kind is SeriesKind.SATURATION
    assert acquisition.protocol.number_of_images == 3
    np.testing.assert_array_equal(acquisition.volume().array, values[..., ::-1])


def test_without_a_rule_it_is_a_weighted_image(write, volumes, only):
    assert only(write(volumes(volumes=3), common=COMMON)).kind is SeriesKind.WEIGHTED_IMAGE


@pytest.mark.parametrize(
    ("change", "number", "reason"),
    [
        ({}, 2, "has 3 images, the series 2 volumes"),
        ({"FlipAngle": 30}, 3, "flip angle of 15 °, in the series it is 30"),
        ({"MagneticFieldStrength": 7}, 3, "field strength of 3 T, in the series it is 7"),
        ({"RepetitionTime": None}, 3, "of 3500 ms, in the series it is not stated"),
    ],
)
def test_a_series_that_does_not_fit_its_protocol_is_refused(
    write, volumes, refusal, rule, change, number, reason
):
    folder = write(volumes(volumes=number), common=COMMON | change)
    found = refusal(folder, saturation=[rule])
    assert found.rule == "saturation-protocol-mismatch"
    assert reason in found.reason


def test_acquisition_times_that_contradict_the_numbering_are_refused(write, volumes, refusal, rule):
    per_volume = [{"AcquisitionTime": f"1000{30 - 10 * index}"} for index in range(3)]
    folder = write(volumes(volumes=3), per_volume=per_volume, common=COMMON)
    assert refusal(folder, saturation=[rule]).rule == "contradictory-acquisition-order"


@pytest.mark.parametrize("protocol", ["nowhere.yaml", "no_such_protocol"])
def test_a_protocol_that_cannot_be_read_is_named(write, volumes, refusal, rule, protocol):
    folder = write(volumes(volumes=3), common=COMMON)
    found = refusal(folder, saturation=[rule | {"protocol": protocol}])
    assert found.rule == "unusable-saturation-protocol"
    assert protocol in found.reason
