"""Mosaics of Siemens and UIH, unfolded where each slice lies."""

import math
import struct
import warnings

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from operators.ingest.csa import read_csa


def csa_header(**values) -> bytes:
    """A CSA header of type 2 with elements of text."""
    content = b"SV10\4\3\2\1" + struct.pack("<II", len(values), 77)
    for name, texts in values.items():
        vr = {"AcquisitionMatrixText": b"SH\0\0", "NumberOfImagesInMosaic": b"IS\0\0"}
        content += struct.pack(
            "<64si4siii", name.encode(), len(texts), vr.get(name, b"DS\0\0"), 3, 6, 77
        )
        for index in range(6):
            text = texts[index].encode() + b"\0" if index < len(texts) else b""
            content += struct.pack("<4i", len(text), len(text), 77, len(text))
            content += text + bytes(-len(text) % 4)
    return content


def mosaic(values: np.ndarray, across: int, down: int) -> np.ndarray:
    """Slices (slices, rows, columns) tiled row by row into one image."""
    slices, rows, columns = values.shape
    image = np.zeros((down * rows, across * columns))
    for index in range(slices):
        top, left = index // across * rows, index % across * columns
        image[top : top + rows, left : left + columns] = values[index]
    return image


@pytest.fixture
def siemens_mosaic(write):
    def write_mosaic(values, affine, normal_sign=1, csa=None):
        slices, rows, columns = values.shape
        across = math.ceil(math.sqrt(slices))
        tiled = mosaic(values, across, across)
        normal = np.cross(affine[:3, 2], affine[:3, 1])
        normal = normal_sign * normal / np.linalg.norm(normal)
        # The stated position is that of a slice as large as the mosaic around the same centre.
        large = affine.copy()
        large[:3, 3] -= affine[:3, 1] * (across - 1) * rows / 2
        large[:3, 3] -= affine[:3, 2] * (across - 1) * columns / 2
        large[:3, 0] = normal * np.linalg.norm(affine[:3, 0])

        def amend(image, *_):
            block = image.private_block(0x0029, "SIEMENS CSA HEADER", create=True)
            header = csa_header(
                AcquisitionMatrixText=[f"{rows}p*{columns}"],
                NumberOfImagesInMosaic=[str(slices)],
                SliceNormalVector=[f"{part:.8f}" for part in normal],
            )
            block.add_new(0x10, "OB", header if csa is None else csa)

        return write(
            tiled[np.newaxis],
            large,
            common={
                "Manufacturer": "SIEMENS",
                "ImageType": ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"],
            },
            amend=amend,
        )

    return write_mosaic


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("slices", [3, 4, 7])
def test_siemens_tiles_lie_where_they_were_put(siemens_mosaic, volumes, only, axial, slices, sign):
    values = volumes(slices=slices)[..., 0]
    axial[:3, 0] *= sign
    acquisition = only(siemens_mosaic(values, axial, sign))
    indices = np.stack(np.indices(values.shape), axis=-1).reshape(-1, 3)
    places = indices @ axial[:3, :3].T + axial[:3, 3]
    found = acquisition.geometry.map_reference_to_indices(places)
    np.testing.assert_allclose(found, np.rint(found), atol=1e-6)
    read = acquisition.volume().array[..., 0]
    np.testing.assert_array_equal(read[tuple(np.rint(found).astype(int).T)], values.ravel())


def test_a_siemens_mosaic_agrees_with_nibabel(siemens_mosaic, volumes, only, axial):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from nibabel.nicom.dicomwrappers import wrapper_from_file
    folder = siemens_mosaic(volumes(slices=5)[..., 0], axial)
    theirs = wrapper_from_file(next((folder / "series1").iterdir()))
    ours = only(folder)
    assert theirs.is_mosaic
    # nibabel orders (row, column, slice); its DICOM wrappers stay in LPS.
    np.testing.assert_allclose(theirs.affine[:, [2, 0, 1, 3]], ours.geometry.affine, atol=1e-5)
    read = ours.volume().array[..., 0]
    np.testing.assert_array_equal(np.moveaxis(theirs.get_data(), -1, 0), read)


@pytest.mark.parametrize("csa", [b"", b"SV10\4\3\2\1", csa_header(NumberOfImagesInMosaic=["4"])])
def test_a_siemens_mosaic_without_its_csa_header_is_refused(
    siemens_mosaic, volumes, refusal, axial, csa
):
    found = refusal(siemens_mosaic(volumes(slices=4)[..., 0], axial, csa=csa))
    assert "CSA header" in found.reason


@pytest.mark.parametrize("stated", [5, 6])
def test_uih_tiles_lie_where_their_items_say(write, volumes, acquired, axial, stated):
    values = volumes(slices=5)[..., 0]

    def amend(image, *_):
        del image.ImagePositionPatient
        items = []
        for index in range(5):
            item = Dataset()
            item.ImagePositionPatient = list(axial[:3, 3] + index * axial[:3, 0])
            items.append(item)
        block = image.private_block(0x0065, "Image Private Header", create=True)
        block.add_new(0x50, "DS", str(stated))
        block.add_new(0x51, "SQ", Sequence(items))

    # Only as many rows of tiles as are filled: 3 across, 2 down.
    study = acquired(write(mosaic(values, 3, 2)[np.newaxis], axial, amend=amend))
    if stated == 6:
        assert "states 6 slices but places 5" in study.refusals[0].reason
        return
    volume = study.acquisitions[0].volume()
    np.testing.assert_array_equal(volume.array[..., 0], values)
    np.testing.assert_allclose(volume.affine, axial, atol=1e-9)


def test_b_values_are_read_from_the_csa_header(write, volumes, only):
    directions = np.vstack([np.zeros(3), np.eye(3)])

    def amend(image, _, volume):
        header = csa_header(
            B_value=[str(1000 * (volume > 0))],
            DiffusionGradientDirection=[f"{part:.8f}" for part in directions[volume]],
        )
        block = image.private_block(0x0029, "SIEMENS CSA HEADER", create=True)
        block.add_new(0x10, "OB", header)

    protocol = only(write(volumes(volumes=4), amend=amend)).protocol
    np.testing.assert_array_equal(protocol.b_values, [0, 1000, 1000, 1000])
    np.testing.assert_allclose(protocol.directions, directions)


def test_damaged_csa_headers_are_empty():
    whole = csa_header(B_value=["0"], DiffusionGradientDirection=["1", "0", "0"])
    assert read_csa(whole)["DiffusionGradientDirection"] == ("1", "0", "0")
    for length in range(0, len(whole), 7):
        assert isinstance(read_csa(whole[:length]), dict)
