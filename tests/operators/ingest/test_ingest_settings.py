"""Settings say what is wrong with them, and conditions mean what they say."""

import pytest
from pydantic import ValidationError
from pydicom.dataset import Dataset

from operators.ingest.conditions import holds
from operators.ingest.settings import Condition, IngestSettings
from operators.ingest.units import conversion_factor

ANY_ECHO = {"when": {"EchoTime": {"minimum": 0}}}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"serie": []}, "Extra inputs"),
        (
            {"saturation": [{"when": {"ProtocolNam": {"matches": "x"}}, "protocol": "p"}]},
            "nearest is ProtocolName",
        ),
        ({"saturation": [{"when": {}, "protocol": "p"}]}, "at least 1"),
        (
            {"saturation": [{"when": {"EchoTime": {}}, "protocol": "p"}]},
            "must give equals, matches, minimum or maximum",
        ),
        (
            {"saturation": [{"when": {"ProtocolName": {"matches": "("}}, "protocol": "p"}]},
            "regular expression",
        ),
        ({"quantity_maps": [ANY_ECHO | {"quantity": "T1", "unit": "s"}]}, "nearest is t1"),
        ({"quantity_maps": [ANY_ECHO | {"quantity": "t1", "unit": "x"}]}, "one of s, ms"),
        ({"series": [{"kind": "diffusion"}]}, "series_number, description or"),
        ({"series": [{"series_number": 1, "kind": "saturation"}]}, "protocol is needed"),
        ({"series": [{"series_number": 1, "kind": "quantity map"}]}, "quantity and unit"),
        ({"fewest_3d_slices": 0}, "greater than or equal to 1"),
    ],
)
def test_what_is_wrong_is_named(settings, message):
    with pytest.raises(ValidationError, match=message):
        IngestSettings.model_validate(settings)


def dataset(**values):
    made = Dataset()
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


@pytest.mark.parametrize(
    ("condition", "fits"),
    [
        ({"equals": "EP"}, True),
        ({"equals": "E"}, False),
        ({"matches": "^e"}, True),
        ({"minimum": 0}, False),
    ],
)
def test_conditions_on_text_hold_for_any_value(condition, fits):
    image = dataset(ScanningSequence=["RM", "EP"])
    assert holds({"ScanningSequence": Condition(**condition)}, image) is fits


@pytest.mark.parametrize(
    ("condition", "fits"),
    [
        ({"equals": 3}, True),
        ({"minimum": 2.8, "maximum": 3.1}, True),
        ({"minimum": 3.1}, False),
        ({"maximum": 2.9}, False),
        ({"equals": 3, "matches": "^3"}, True),
    ],
)
def test_conditions_on_numbers(condition, fits):
    image = dataset(MagneticFieldStrength="3")
    assert holds({"MagneticFieldStrength": Condition(**condition)}, image) is fits


def test_an_absent_attribute_fits_nothing():
    assert not holds({"EchoTime": Condition(matches="")}, dataset())
    assert not holds({"EchoTime": Condition(matches="")}, dataset(EchoTime=None))


def test_attributes_of_functional_groups_are_found():
    timing = dataset(FlipAngle=15)
    shared = dataset(MRTimingAndRelatedParametersSequence=[timing])
    image = dataset(SharedFunctionalGroupsSequence=[shared])
    assert holds({"FlipAngle": Condition(equals=15)}, image)


@pytest.mark.parametrize(
    ("given", "wanted", "factor"),
    [("s", "ms", 1000), ("um2/ms", "mm2/s", 1e-3), ("%", "1", 0.01), ("[ppm]", "[ppm]", 1)],
)
def test_units_of_one_dimension_convert_and_back(given, wanted, factor):
    assert conversion_factor(given, wanted) == pytest.approx(factor)
    assert conversion_factor(wanted, given) == pytest.approx(1 / factor)


def test_units_of_different_dimensions_do_not():
    with pytest.raises(ValueError, match="cannot become"):
        conversion_factor("ms", "mm2/s")
    with pytest.raises(ValueError, match="Imaging Frequency"):
        conversion_factor("Hz", "[ppm]")
    assert conversion_factor("Hz", "[ppm]", 128.0) == 1 / 128
