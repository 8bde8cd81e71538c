"""What a series is taken for, and why."""

import numpy as np
import pytest
from highdicom.sr import CodedConcept
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from operators.vocabulary.acquisition import SeriesKind
from operators.vocabulary.quantity import QUANTITIES


def mapping(code, unit, slope=1.0, intercept=0.0):
    """Gives a series a Real World Value Mapping."""
    definition = Dataset()
    definition.ValueType = "CODE"
    definition.ConceptNameCodeSequence = [CodedConcept("246205007", "SCT", "Quantity")]
    concept = CodedConcept(code.value, code.scheme_designator, code.meaning)
    definition.ConceptCodeSequence = [concept]
    item = Dataset()
    item.RealWorldValueSlope, item.RealWorldValueIntercept = slope, intercept
    item.MeasurementUnitsCodeSequence = [CodedConcept(unit, "UCUM", unit)]
    item.QuantityDefinitionSequence = [definition]
    return lambda image, *_: setattr(image, "RealWorldValueMappingSequence", Sequence([item]))


def kind_of(study):
    assert len(study.series) == 1
    return study.series[0].kind, study.series[0].because


@pytest.mark.parametrize(
    ("common", "kind", "because"),
    [
        ({"ScanningSequence": "GR"}, SeriesKind.WEIGHTED_IMAGE, "Scanning Sequence GR"),
        (
            {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]},
            SeriesKind.UNRECOGNISED,
            "localizer by its Image Type",
        ),
        (
            {"SeriesDescription": "3-plane loc"},
            SeriesKind.UNRECOGNISED,
            "localizer by its Series Description",
        ),
        (
            {"SeriesDescription": "AAHead_Scout_MPR"},
            SeriesKind.UNRECOGNISED,
            "localizer by its Series Description",
        ),
        ({"SeriesDescription": "block design"}, SeriesKind.WEIGHTED_IMAGE, "no other kind"),
        (
            {"ImageType": ["DERIVED", "PRIMARY", "DIFFUSION", "TRACEW"]},
            SeriesKind.UNRECOGNISED,
            "TRACEW",
        ),
        (
            {"ImageType": ["DERIVED", "SECONDARY", "MPR"]},
            SeriesKind.UNRECOGNISED,
            "derived images",
        ),
        (
            {"ImageType": ["DERIVED", "PRIMARY", "M", "T1 MAP"]},
            SeriesKind.QUANTITY_MAP,
            "unit is not stated",
        ),
        ({"Modality": "OT"}, SeriesKind.UNRECOGNISED, "Modality OT"),
    ],
)
def test_kinds_without_protocol(write, volumes, acquired, common, kind, because):
    found, why = kind_of(acquired(write(volumes(), common=common)))
    assert found is kind
    assert because in why


def test_a_localizer_in_three_planes_is_left_alone_and_not_refused(write, volumes, acquired):
    def turn(image, index, _):
        planes = [1, 0, 0, 0, 1, 0], [0, 1, 0, 0, 0, -1], [1, 0, 0, 0, 0, -1]
        image.ImageOrientationPatient = planes[index]
        image.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]

    study = acquired(write(volumes(), amend=turn))
    assert study.refusals == ()
    assert study.series[0].kind is SeriesKind.UNRECOGNISED


def test_colour_images_are_left_alone(write, acquired):
    def colour(image, *_):
        image.SamplesPerPixel, image.PhotometricInterpretation = 3, "RGB"
        image.PlanarConfiguration = 0
        image.BitsAllocated = image.BitsStored = 8
        image.HighBit = 7
        image.PixelData = bytes(4 * 4 * 3)

    kind, because = kind_of(acquired(write(np.zeros((2, 4, 4)), amend=colour)))
    assert kind is SeriesKind.UNRECOGNISED
    assert "colour" in because


def test_ct_is_listed_and_a_tilted_stack_of_it_refused(write, volumes, acquired):
    def ct(image, *_):
        image.SOPClassUID, image.Modality = "1.2.840.10008.5.1.4.1.1.2", "CT"

    study = acquired(write(volumes(), amend=ct))
    assert kind_of(study)[0] is SeriesKind.UNRECOGNISED
    assert study.refusals == ()

    def tilted(image, index, volume):
        ct(image)
        position = image.ImagePositionPatient
        image.ImagePositionPatient = [position[0], float(position[1]) + index, position[2]]

    study = acquired(write(volumes(), amend=tilted))
    assert [refusal.rule for refusal in study.refusals] == ["gantry-tilt"]


@pytest.mark.parametrize(
    ("name", "unit", "slope", "stored", "expected"),
    [
        ("t1", "ms", 1.0, 800, 800.0),
        ("t1", "s", 0.001, 800, 800.0),
        ("mean_diffusivity", "um2/s", 1.0, 700, 700e-6),
        ("mean_diffusivity", "mm2/s", 1e-6, 700, 700e-6),
        ("mt_fraction", "1", 0.0001, 1200, 12.0),
        ("b0_shift", "Hz", 0.5, 64, 32 / 127.74),
    ],
)
def test_a_real_world_value_mapping_gives_quantity_and_unit(
    write, only, name, unit, slope, stored, expected
):
    quantity = QUANTITIES[name]
    folder = write(
        np.full((2, 3, 3), stored),
        common={
            "ImageType": ["DERIVED", "PRIMARY", "OTHER"],
            "ImagingFrequency": 127.74,
            # What the rescale says is for display.
            "RescaleSlope": "7",
        },
        amend=mapping(quantity.code, unit, slope),
    )
    acquisition = only(folder)
    assert acquisition.kind is SeriesKind.QUANTITY_MAP
    assert acquisition.protocol.quantity is quantity
    np.testing.assert_allclose(acquisition.volume().array, expected, rtol=1e-6)


def test_an_imaging_frequency_in_hz_is_understood(write, only):
    folder = write(
        np.full((2, 3, 3), 64),
        common={"ImagingFrequency": "128175953"},
        amend=mapping(QUANTITIES["b0_shift"].code, "Hz"),
    )
    np.testing.assert_allclose(only(folder).volume().array, 64 / 128.175953, rtol=1e-6)


def test_a_unit_that_measures_something_else_makes_no_map(write, volumes, acquired):
    study = acquired(write(volumes(), amend=mapping(QUANTITIES["t1"].code, "/s")))
    kind, because = kind_of(study)
    assert kind is SeriesKind.QUANTITY_MAP
    assert study.acquisitions == ()
    assert "'/s' cannot become 'ms'" in because


def test_maps_that_siemens_derives_have_known_units(write, only):
    common = {"Manufacturer": "SIEMENS", "ImageType": ["DERIVED", "PRIMARY", "DIFFUSION", "ADC"]}
    volume = only(write(np.full((2, 3, 3), 750), common=common)).volume()
    np.testing.assert_allclose(volume.array, 750e-6, rtol=1e-6)


def test_a_rule_names_quantity_and_unit(write, only):
    rule = {
        "when": {"SeriesDescription": {"matches": "^t1map"}},
        "quantity": "t1",
        "unit": "s",
    }
    folder = write(np.full((2, 3, 3), 2), common={"SeriesDescription": "T1map in s"})
    acquisition = only(folder, quantity_maps=[rule])
    np.testing.assert_array_equal(acquisition.volume().array, 2000)


def test_a_map_of_several_volumes_is_refused(write, volumes, refusal):
    rule = {"when": {"EchoTime": {"minimum": 1}}, "quantity": "t2", "unit": "ms"}
    folder = write(volumes(volumes=2), per_volume=[{"EchoTime": 10}, {"EchoTime": 20}])
    assert refusal(folder, quantity_maps=[rule]).rule == "several-volumes-of-a-map"


@pytest.mark.parametrize(
    "selector",
    [
        {"series_number": 5},
        {"description": "head"},
        {"series_instance_uid": "1.2.826.0.1.3680043.10.1.5"},
        {"series_number": 5, "description": "^T2"},
    ],
)
def test_a_named_series_is_what_the_configuration_says(write, volumes, acquired, selector):
    folder = write(
        volumes(),
        common={
            "SeriesNumber": 5,
            "SeriesDescription": "T2 head",
            "ImageType": ["DERIVED", "SECONDARY", "MPR"],
        },
    )
    study = acquired(folder, series=[selector | {"kind": "weighted image"}])
    assert kind_of(study) == (SeriesKind.WEIGHTED_IMAGE, "named in the configuration")
    assert len(study.acquisitions) == 1
    study = acquired(folder, series=[selector | {"series_number": 6, "kind": "weighted image"}])
    assert kind_of(study)[0] is SeriesKind.UNRECOGNISED


def test_the_protocol_is_told_as_a_table(write, volumes, acquired):
    per_volume = [
        {"DiffusionBValue": 0.0},
        {"DiffusionBValue": 1000.0, "DiffusionGradientOrientation": [0.0, 0.6, 0.8]},
    ]
    (series,) = acquired(write(volumes(volumes=2), per_volume=per_volume)).series
    assert "3 slices of 4 × 5 pixels, 2 volumes, 4 × 3 × 2 mm" in series.protocol[0]
    assert series.protocol[-1].split() == ["2", "1000", "0.00000", "0.60000", "0.80000"]
