"""The classic series writer of the demonstration, read back by pydicom and highdicom."""

import highdicom as hd
import numpy as np
import pydicom
import pytest

from app.demo.mr_series import write_mr_series

# Slices run along -y, rows along z, columns along x, all spacings different.
AFFINE = np.array([[0, 0, 1.5, -10], [-4, 0, 0, 20], [0, 2.5, 0, 30], [0, 0, 0, 1.0]])


def test_values_come_back_through_the_rescale(tmp_path):
    values = np.random.default_rng(1).normal(500, 300, (3, 4, 5, 2))
    files = write_mr_series(
        tmp_path, values, AFFINE, uid_prefix="1.2.3", common={}, rescale_slope=0.25
    )
    assert len(files) == 6
    for number, file in enumerate(files):
        image = pydicom.dcmread(file)
        found = image.pixel_array * image.RescaleSlope + image.RescaleIntercept
        expected = values[number % 3, :, :, number // 3]
        np.testing.assert_allclose(found, expected, atol=0.125 + 1e-9)


def test_whole_numbers_are_stored_as_they_are(tmp_path):
    values = np.arange(24.0).reshape(2, 3, 4) - 5
    files = write_mr_series(tmp_path, values, AFFINE, uid_prefix="1.2.3", common={})
    image = pydicom.dcmread(files[1])
    assert image.RescaleSlope == 1
    np.testing.assert_array_equal(image.pixel_array, values[1])


def test_highdicom_reads_the_same_grid(tmp_path):
    values = np.arange(60.0).reshape(3, 4, 5)
    files = write_mr_series(tmp_path, values, AFFINE, uid_prefix="1.2.3", common={})
    volume = hd.get_volume_from_series([pydicom.dcmread(file) for file in files])
    # highdicom may order slices the other way: compare positions of voxels, not indices.
    indices = np.array([[0, 0, 0], [2, 0, 0], [1, 3, 4]])
    ours = indices @ AFFINE[:3, :3].T + AFFINE[:3, 3]
    theirs = np.rint(volume.map_reference_to_indices(ours)).astype(int)
    for index, other in zip(indices, theirs, strict=True):
        assert volume.array[tuple(other)] == values[tuple(index)]


def test_attributes_and_the_last_word_reach_the_file(tmp_path):
    def amend(dataset, index, volume):
        block = dataset.private_block(0x0019, "SIEMENS MR HEADER", create=True)
        block.add_new(0x0C, "IS", 1000 * volume + index)

    files = write_mr_series(
        tmp_path,
        np.zeros((2, 3, 3, 2)),
        AFFINE,
        uid_prefix="1.2.3",
        common={"SeriesNumber": 7, "EchoTime": 80},
        per_volume=[{}, {"EchoTime": 90}],
        amend=amend,
    )
    last = pydicom.dcmread(files[-1])
    assert (last.SeriesInstanceUID, last.EchoTime) == ("1.2.3.7", 90)
    assert last.private_block(0x0019, "SIEMENS MR HEADER")[0x0C].value == 1001
    assert len({pydicom.dcmread(file).SOPInstanceUID for file in files}) == 4


@pytest.mark.parametrize(
    ("values", "arguments", "message"),
    [
        (np.full((1, 2, 2), np.nan), {}, "finite"),
        (np.full((1, 2, 2), 1e6), {"rescale_slope": 1.0}, "16 bits"),
        (np.zeros((2, 2)), {}, "slices, rows"),
        (np.zeros((1, 2, 2, 3)), {"per_volume": [{}]}, "per_volume"),
    ],
)
def test_what_cannot_be_stored_is_refused(tmp_path, values, arguments, message):
    with pytest.raises(ValueError, match=message):
        write_mr_series(tmp_path, values, AFFINE, uid_prefix="1.2", common={}, **arguments)
