"""How weighted images were acquired, classic and Enhanced, and maps in the style of SyMRI."""

from __future__ import annotations

import numpy as np
import pytest

from operators.inference.guide_parameters import guide_parameters
from operators.inference.guide_sequence import guide_kind
from operators.inference.settings import GuideSettings
from operators.vocabulary.acquisition import SeriesKind

SPIN_ECHO = {"ScanningSequence": "SE", "RepetitionTime": 4000.0, "EchoTime": 100.0}
GRADIENT_ECHO = {"ScanningSequence": "GR", "RepetitionTime": 15.0, "EchoTime": 3.0,
                 "FlipAngle": 20.0, "SequenceVariant": "SP"}  # fmt: skip


@pytest.mark.parametrize(
    ("common", "expected"),
    [
        (SPIN_ECHO, ("t2w", "SE")),
        (SPIN_ECHO | {"EchoTrainLength": 16}, ("t2w", "FSE")),
        (SPIN_ECHO | {"RepetitionTime": 500.0, "EchoTime": 12.0}, ("t1w", "SE")),
        (SPIN_ECHO | {"EchoTime": 15.0}, None),  # proton density
        (SPIN_ECHO | {"InversionTime": 2400.0}, None),  # FLAIR
        (SPIN_ECHO | {"ScanningSequence": ["SE", "IR"]}, None),
        (SPIN_ECHO | {"ScanningSequence": ["EP", "SE"]}, None),
        (GRADIENT_ECHO, ("t1w", "SPGR")),
        (GRADIENT_ECHO | {"SequenceVariant": "SS"}, None),  # balanced
        (GRADIENT_ECHO | {"RepetitionTime": 600.0}, None),  # T2*
        (GRADIENT_ECHO | {"InversionTime": 900.0}, ("t1w", "MPRAGE")),
        (GRADIENT_ECHO | {"SequenceVariant": ["SK", "SP", "MP"]}, ("t1w", "MPRAGE")),
        (GRADIENT_ECHO | {"InversionTime": 2300.0}, None),
    ],
)
def test_what_a_series_can_guide(write, only, volumes, common, expected):
    kind = guide_kind(only(write(volumes(), common=common)).protocol)
    assert (None if kind is None else (kind.weighting, kind.equation)) == expected


def test_of_a_double_echo_the_second_guides(write, only, volumes):
    folder = write(
        volumes(volumes=2),
        common=SPIN_ECHO | {"EchoTrainLength": 8},
        per_volume=[{"EchoTime": 15.0, "EchoNumbers": 1}, {"EchoTime": 100.0, "EchoNumbers": 2}],
    )
    assert guide_kind(only(folder).protocol).volume == 1


@pytest.mark.parametrize(
    ("common", "stated"),
    [
        ({"ContrastBolusAgent": "Gadovist"}, True),
        ({"ContrastBolusAgent": "NONE"}, False),
        ({}, False),
    ],
)
def test_a_contrast_agent(write, only, volumes, common, stated):
    assert only(write(volumes(), common=SPIN_ECHO | common)).protocol.contrast_agent is stated


@pytest.mark.parametrize(
    ("options", "suppressed"), [("FS", True), (["PFP", "FS"], True), ("PFP", False), ("", None)]
)
def test_fat_suppression(write, only, volumes, options, suppressed):
    protocol = only(write(volumes(), common=SPIN_ECHO | {"ScanOptions": options})).protocol
    assert protocol.fat_suppressed is suppressed


@pytest.mark.parametrize(
    ("manufacturer", "repetition_time", "meaning"),
    [
        ("SIEMENS", 2300.0, "shot_repetition_time"),
        ("GE MEDICAL SYSTEMS", 2500.0, "shot_repetition_time"),
        ("GE MEDICAL SYSTEMS", 7.5, "echo_spacing"),  # shorter than TI: no time between shots
        ("Philips Medical Systems", 6.8, "echo_spacing"),
        ("Somebody", 2300.0, None),
    ],
)
def test_the_meaning_of_tr_in_an_mprage_header(
    write, only, volumes, manufacturer, repetition_time, meaning
):
    common = GRADIENT_ECHO | {
        "InversionTime": 900.0, "RepetitionTime": repetition_time, "Manufacturer": manufacturer,
    }  # fmt: skip
    protocol = only(write(volumes(), common=common)).protocol
    kind = guide_kind(protocol)
    found = guide_parameters(protocol, kind, manufacturer, GuideSettings())
    for name in ("shot_repetition_time", "echo_spacing"):
        assert found.known.get(name) == (repetition_time if name == meaning else None)
    assert "inversion_time" not in found.missing
    assert found.must_be_stated == ()


def test_settings_go_before_headers(write, only, volumes):
    protocol = only(write(volumes(), common=SPIN_ECHO | {"EchoTrainLength": 16})).protocol
    settings = GuideSettings(echo_time=80, echo_train_duration=120)
    found = guide_parameters(protocol, guide_kind(protocol), "SIEMENS", settings)
    assert found.known == {
        "repetition_time": 4000.0, "effective_echo_time": 80.0, "echo_train_duration": 120.0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("image_type", "unit", "name", "factor"),
    [
        (["DERIVED", "PRIMARY", "QMAP", "T1"], "ms", "t1", 1.0),
        (["DERIVED", "PRIMARY", "T1 MAP"], "s", "t1", 1000.0),
        (["DERIVED", "PRIMARY", "T2", "NONE"], "ms", "t2", 1.0),
        (["DERIVED", "PRIMARY", "R2"], "1/s", "r2", 1.0),
        (["DERIVED", "PRIMARY", "R1_MAP"], "/ms", "r1", 1000.0),
        (["DERIVED", "PRIMARY", "PD"], "%", "proton_density", 0.01),
        (["DERIVED", "PRIMARY", "DENSITY MAP"], "1", "proton_density", 1.0),
    ],
)
def test_maps_by_image_type_and_rescale_type(write, only, image_type, unit, name, factor):
    common = {"ImageType": image_type, "RescaleType": unit}
    acquisition = only(write(np.full((2, 3, 3), 70), common=common))
    assert acquisition.protocol.quantity.name == name
    np.testing.assert_allclose(acquisition.volume().array, 70 * factor, rtol=1e-6)


@pytest.mark.parametrize("token", ["T1W", "T2W", "FLAIR"])
def test_synthetic_weighted_images_are_no_maps(write, volumes, acquired, token):
    common = {"ImageType": ["DERIVED", "PRIMARY", token, "SYNTHETIC"], "RescaleType": "ms"}
    study = acquired(write(volumes(), common=common))
    assert study.series[0].kind is SeriesKind.UNRECOGNISED


def test_an_enhanced_image_says_the_same_in_its_own_words():
    from operators.ingest.elements import STANDARD
    from operators.ingest.header import Header, StoredElement
    from operators.ingest.weighted import _contrast_agent, _fat_suppressed, _scanning_sequence

    def header(**values: str) -> Header:
        return Header(
            {STANDARD[name][0]: StoredElement("CS", text.encode()) for name, text in values.items()}
        )

    assert _scanning_sequence(header(EchoPulseSequence="SPIN", InversionRecovery="YES")) == (
        "SE", "IR",
    )  # fmt: skip
    assert _scanning_sequence(
        header(EchoPulseSequence="GRADIENT", EchoPlanarPulseSequence="NO")
    ) == ("GR",)
    assert _fat_suppressed(header(SpectrallySelectedSuppression="FAT")) is True
    assert _fat_suppressed(header(SpectrallySelectedSuppression="NONE")) is False
    tag = STANDARD["ContrastBolusAgentSequence"][0]
    assert _contrast_agent(Header({tag: StoredElement("SQ", (Header({}),))}))
