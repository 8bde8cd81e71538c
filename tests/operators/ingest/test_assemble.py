"""4-D assembly: what varies becomes volumes, values stay exact, the rest is refused."""

import highdicom as hd
import numpy as np
import pydicom
import pytest

from operators.vocabulary.acquisition import SeriesKind

UNIT = np.eye(3)
B_TABLE = [
    {"DiffusionBValue": 0.0, "DiffusionGradientOrientation": [0.0, 0.0, 0.0]},
    *(
        {"DiffusionBValue": 1000.0, "DiffusionGradientOrientation": list(direction)}
        for direction in UNIT
    ),
]


def renumber(seed):
    """Instance Numbers and file names that say nothing about place or volume."""
    numbers = np.random.default_rng(seed).permutation(1000)

    def amend(image, index, volume):
        image.InstanceNumber = int(numbers[volume * 20 + index]) + 1

    return amend


VARYING = {
    "echo time": [{"EchoTime": time} for time in (10, 20, 40)],
    "temporal position": [{"TemporalPositionIdentifier": index} for index in (1, 2, 3)],
    "inversion time": [{"InversionTime": time} for time in (50, 400, 1100)],
    "flip angle": [{"FlipAngle": angle} for angle in (2, 10, 20)],
    "acquisition number": [{"AcquisitionNumber": number} for number in (1, 2, 3)],
    "component": [{"ImageType": ["ORIGINAL", "PRIMARY", letter]} for letter in "MPR"],
}


@pytest.mark.parametrize("per_volume", VARYING.values(), ids=VARYING)
def test_whatever_varies_becomes_volumes(write, volumes, only, per_volume):
    """Regression: the SDK's loader keeps one instance per position, mixed over volumes."""
    values = volumes(volumes=3)
    folder = write(values, per_volume=per_volume, amend=renumber(3))
    found = only(folder).volume().array
    # With Instance Numbers that say nothing, echo times and angles leave the order open.
    order = [int(np.flatnonzero((found[..., [v]] == values).all((0, 1, 2)))[0]) for v in range(3)]
    assert sorted(order) == [0, 1, 2]
    if per_volume[0].keys() <= {"TemporalPositionIdentifier", "AcquisitionNumber", "ImageType"}:
        assert order == [0, 1, 2]


def test_two_dimensions_that_vary_give_every_combination(write, volumes, only):
    per_volume = [
        {"EchoTime": time, "TemporalPositionIdentifier": position}
        for position in (1, 2, 3)
        for time in (10, 30)
    ]
    values = volumes(volumes=6)
    acquisition = only(write(values, per_volume=per_volume))
    np.testing.assert_array_equal(acquisition.volume().array, values)
    np.testing.assert_array_equal(acquisition.protocol.echo_times, [10, 30] * 3)
    np.testing.assert_array_equal(acquisition.protocol.temporal_positions, [1, 1, 2, 2, 3, 3])


def test_repetitions_are_told_apart_by_instance_number_alone(write, volumes, only):
    values = volumes(volumes=4)
    np.testing.assert_array_equal(only(write(values)).volume().array, values)


def test_a_dimension_that_varies_from_slice_to_slice_makes_no_volumes(write, volumes, only):
    values = volumes(volumes=2)

    def amend(image, index, volume):
        image.InversionTime = 100 + 10 * index

    np.testing.assert_array_equal(only(write(values, amend=amend)).volume().array, values)


def test_rescaled_values_are_exact_slice_by_slice(write, only):
    """Regression: the SDK's volume takes the type of its first slice and wraps the others."""
    stored = np.full((3, 2, 2), 1001.0)
    slopes, intercepts = (1.0, 1.5, 100.1), (0.0, -1501.0, 0.25)

    def amend(image, index, _):
        image.RescaleSlope, image.RescaleIntercept = str(slopes[index]), str(intercepts[index])

    array = only(write(stored, amend=amend)).volume().array
    assert array.dtype == np.float32
    for index in range(3):
        expected = np.float32(np.float64(1001) * slopes[index] + intercepts[index])
        assert (array[index] == expected).all()


@pytest.mark.parametrize(("signed", "bits", "stored"), [(0, 12, 0xF123), (1, 12, 0x0F85)])
def test_bits_above_bits_stored_do_not_count(write, only, signed, bits, stored):
    def amend(image, *_):
        image.BitsStored, image.HighBit, image.PixelRepresentation = bits, bits - 1, signed
        image.PixelData = np.full((2, 2), stored, "<u2").tobytes()

    value = stored & 0xFFF
    expected = value - 4096 if signed and value > 2047 else value
    assert (only(write(np.zeros((1, 2, 2)), amend=amend)).volume().array == expected).all()


def test_enhanced_images_give_what_their_classic_images_give(write, volumes, only, tmp_path):
    """Regression: the SDK gives an Enhanced image no affine. highdicom converts the series."""
    values = volumes(slices=4, volumes=3)
    folder = write(
        values,
        per_volume=[{"EchoTime": time, "RescaleSlope": slope} for time, slope in
                    ((10, "1.25"), (20, "0.7"), (30, "3"))],
    )  # fmt: skip
    classic = only(folder)
    images = [pydicom.dcmread(path) for path in sorted((folder / "series1").iterdir())]
    converted = tmp_path / "enhanced"
    converted.mkdir()
    for number, part in enumerate((images[:5], images[5:])):
        # Two files of one series; the frames of a volume lie in both.
        enhanced = hd.legacy.LegacyConvertedEnhancedMRImage(
            part, "1.2.826.0.1.7", 1, f"1.2.826.0.1.7.{number}", number + 1
        )
        enhanced.save_as(converted / f"{number}.dcm")
    enhanced = only(converted)
    np.testing.assert_array_equal(enhanced.volume().array, classic.volume().array)
    np.testing.assert_array_equal(enhanced.geometry.affine, classic.geometry.affine)
    assert len(enhanced.source.images) == 2
    assert enhanced.source.images[0].frames == 5


def test_sources_name_the_slices_of_which_they_hold_pixels(write, volumes, only):
    images = only(write(volumes(volumes=2))).source.images
    assert [image.slices for image in images] == [(0,), (1,), (2,)] * 2
    assert len({image.sop_instance_uid for image in images}) == 6


def test_the_header_is_complete_and_without_pixels(write, volumes, only):
    source = only(write(volumes(), common={"PatientID": "4711", "SeriesNumber": 12})).source
    assert source.header.PatientID == "4711"
    assert "PixelData" not in source.header
    assert source.series_number == 12


def drop(folder, *numbers):
    for path in (folder / "series1").iterdir():
        if pydicom.dcmread(path).InstanceNumber in numbers:
            path.unlink()
    return folder


def test_a_volume_without_one_of_its_slices_is_refused(write, volumes, refusal):
    found = refusal(drop(write(volumes(volumes=4), per_volume=B_TABLE), 5))
    assert found.rule == "missing-slices"
    assert "slice 2 of 3" in found.reason


def test_a_slice_that_is_there_twice_is_refused(write, volumes, refusal):
    folder = write(volumes(volumes=4), per_volume=B_TABLE)
    image = pydicom.dcmread(sorted((folder / "series1").iterdir())[4])
    image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = "1.2.3.99"
    image.save_as(folder / "copy.dcm")
    assert refusal(folder).rule == "duplicate-slices"


def last_volume(**values):
    return lambda image, _, volume: (
        volume == 3 and [setattr(image, keyword, value) for keyword, value in values.items()]
    )


def philips_scale(image, _, volume):
    block = image.private_block(0x2005, "Philips MR Imaging DD 001", create=True)
    block.add_new(0x0E, "FL", 0.01 if volume else 0.02)


@pytest.mark.parametrize(
    ("amend", "rule"),
    [
        (last_volume(EchoTime=95), "mixed-echo-times"),
        (last_volume(RescaleType="normalized"), "mixed-scaling"),
        (last_volume(RescaleSlope=None), "mixed-scaling"),
        (philips_scale, "mixed-scaling"),
        (last_volume(RescaleSlope="0"), "malformed-header"),
    ],
)
def test_signals_that_cannot_be_compared_are_refused(write, volumes, refusal, amend, rule):
    folder = write(volumes(volumes=4), per_volume=B_TABLE, common={"EchoTime": 80}, amend=amend)
    assert refusal(folder).rule == rule


def test_phase_and_derived_images_of_a_diffusion_series_are_dropped(write, volumes, only):
    values = volumes(volumes=6)
    folder = write(
        values,
        per_volume=[
            *B_TABLE,
            B_TABLE[1] | {"ImageType": ["ORIGINAL", "PRIMARY", "P"]},
            B_TABLE[1] | {"ImageType": ["DERIVED", "PRIMARY", "ADC"]},
        ],
    )
    acquisition = only(folder)
    np.testing.assert_array_equal(acquisition.volume().array, values[..., :4])
    assert {finding.code for finding in acquisition.findings} == {
        "phase-images-dropped",
        "derived-images-dropped",
    }


def test_phase_volumes_of_a_weighted_image_are_kept_and_told(write, volumes, only):
    acquisition = only(write(volumes(volumes=2), per_volume=VARYING["component"][:2]))
    assert acquisition.volumes == 2
    assert "2 phase" in acquisition.findings[0].message


def test_undecodable_pixels_are_refused_when_they_are_read(write, volumes, only):
    folder = write(volumes())
    path = sorted((folder / "series1").iterdir())[1]
    acquisition = only(folder)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ValueError, match=r"became shorter.*undecodable-pixels"):
        acquisition.volume()


def test_reading_again_gives_the_same(write, volumes, only):
    acquisition = only(write(volumes()))
    assert acquisition.kind is SeriesKind.WEIGHTED_IMAGE
    np.testing.assert_array_equal(acquisition.volume().array, acquisition.volume().array)
