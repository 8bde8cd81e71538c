"""The grid: affines as they were written, whatever the orientation, or a refusal."""

import re

import highdicom as hd
import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from app.demo.mr_series import write_mr_series
from operators.ingest.acquire import acquire
from operators.ingest.settings import IngestSettings

quiet = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
lengths = st.floats(0.5, 6.0)
rotations = st.tuples(*[st.floats(-1, 1)] * 4).filter(lambda q: np.linalg.norm(q) > 0.1)


@st.composite
def affines(draw):
    """LPS affines of (slice, row, column): any rotation, three different spacings."""
    axes = Rotation.from_quat(draw(rotations)).as_matrix()
    affine = np.eye(4)
    # Slices along row × column, as the assembled grid has them.
    row_step, column_step = axes[:, 1] * draw(lengths), axes[:, 0] * draw(lengths)
    affine[:3, 0] = np.cross(axes[:, 0], axes[:, 1]) * draw(lengths)
    affine[:3, 1], affine[:3, 2] = row_step, column_step
    affine[:3, 3] = draw(st.tuples(*[st.floats(-200, 200)] * 3))
    return affine


@quiet
@given(affines(), st.randoms())
def test_the_affine_maps_indices_to_lps_as_written(tmp_path_factory, affine, random):
    folder = tmp_path_factory.mktemp("series")
    values = np.arange(3 * 4 * 5, dtype=float).reshape(3, 4, 5)
    numbers = list(range(3))
    random.shuffle(numbers)
    write_mr_series(
        folder,
        values,
        affine,
        uid_prefix="1.2.3",
        common={},
        amend=lambda image, index, _: setattr(image, "InstanceNumber", numbers[index] + 1),
    )
    volume = acquire(folder, IngestSettings()).acquisitions[0].volume()
    np.testing.assert_allclose(volume.affine, affine, atol=1e-6)
    np.testing.assert_array_equal(volume.array[..., 0], values)


def test_non_square_pixels_keep_their_spacings_apart(write, volumes, only, axial):
    """Regression: the SDK's DICOMSeriesToVolumeOperator exchanges the in-plane spacings."""
    geometry = only(write(volumes())).geometry
    assert geometry.spacing == pytest.approx((4, 3, 2))
    np.testing.assert_allclose(geometry.affine, axial, atol=1e-12)


def test_slices_written_against_the_normal_are_turned_around(write, volumes, only, axial):
    values = volumes()
    axial[:3, 0] *= -1
    acquisition = only(write(values, axial))
    np.testing.assert_array_equal(acquisition.volume().array, values[::-1])
    assert np.linalg.det(acquisition.geometry.affine[:3, ::-1][:, 1:]) > 0
    np.testing.assert_allclose(acquisition.geometry.affine[:3, 3], [-30, -40, 5 - 2 * 4])


def test_the_grid_is_that_of_highdicom(write, volumes, only):
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", (20, -35, 110), degrees=True).as_matrix() * (
        3.0,
        1.25,
        2.0,
    )
    folder = write(volumes(), affine)
    ours = only(folder).volume()
    theirs = hd.get_volume_from_series(
        [pydicom.dcmread(path) for path in (folder / "series1").iterdir()]
    )
    matched = ours.get_channel(Volume=0).match_geometry(theirs)
    np.testing.assert_array_equal(matched.array, theirs.array)


def test_a_single_slice_takes_its_thickness_from_the_header(write, volumes, only):
    geometry = only(write(volumes(slices=1))).geometry
    assert geometry.spacing == pytest.approx((4, 3, 2))


def shift(image, index, amount, axis):
    position = [float(part) for part in image.ImagePositionPatient]
    position[axis] += index * amount
    image.ImagePositionPatient = position


def on_last_slice(change):
    return lambda image, index, _: index == 3 and change(image)


@pytest.mark.parametrize(
    ("amend", "rule", "reason"),
    [
        (lambda image, index, _: shift(image, index, 1.0, 1), "gantry-tilt", "14.0°"),
        (
            on_last_slice(lambda image: shift(image, 1, 4.0, 2)),
            "uneven-slice-spacing",
            "slices 3 and 4 of 4 are 8 mm apart, the others 4 mm .1 missing",
        ),
        (
            on_last_slice(lambda image: shift(image, 1, 0.5, 2)),
            "uneven-slice-spacing",
            "4.5 mm apart, the others 4 mm$",
        ),
        (
            on_last_slice(lambda image: shift(image, 1, -4.0, 2)),
            "duplicate-slices",
            "slice 3 of 3 is there 2 times",
        ),
        (
            on_last_slice(
                lambda image: setattr(image, "ImageOrientationPatient", [1, 0, 0, 0, 0.8, 0.6])
            ),
            "inconsistent-orientation",
            "differs between slices",
        ),
        (
            on_last_slice(lambda image: setattr(image, "PixelSpacing", [3, 2.5])),
            "inconsistent-pixel-spacing",
            "0.5",
        ),
        (
            on_last_slice(lambda image: setattr(image, "FrameOfReferenceUID", "1.9")),
            "inconsistent-frame-of-reference",
            "2 frames of reference",
        ),
        (
            lambda image, *_: setattr(image, "ImageOrientationPatient", [1, 0, 0, 0.6, 0.8, 0]),
            "invalid-orientation",
            "orthogonal",
        ),
        (lambda image, *_: setattr(image, "PixelSpacing", [0, 2]), "invalid-pixel-spacing", "0"),
        (lambda image, *_: setattr(image, "MRAcquisitionType", "3D"), "missing-slices", "only"),
    ],
)
def test_what_is_no_regular_stack_is_refused(write, volumes, refusal, amend, rule, reason):
    slices = 3 if rule == "missing-slices" else 4
    found = refusal(write(volumes(slices=slices), amend=amend))
    assert found.rule == rule
    assert re.search(reason, found.reason)
    assert found.series_number == 1


def test_every_second_slice_alone_is_refused(write, volumes, refusal):
    folder = write(volumes(slices=5))
    for path in sorted((folder / "series1").iterdir())[1::2]:
        path.unlink()
    assert "8 mm apart, 2 times the stated spacing of 4" in refusal(folder).reason


def test_a_stated_gap_is_not_taken_for_the_spacing(write, volumes, only):
    common = {"SliceThickness": 3, "SpacingBetweenSlices": 1}
    assert only(write(volumes(), common=common)).geometry.spacing[0] == pytest.approx(4)


def test_images_of_two_sizes_are_refused(write, volumes, refusal):
    def halve(image, index, _):
        if index == 2:
            image.Rows = 2
            image.PixelData = image.PixelData[: 2 * 5 * 2]

    assert refusal(write(volumes(), amend=halve)).rule == "inconsistent-matrix"
