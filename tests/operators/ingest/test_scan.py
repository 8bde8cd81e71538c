"""The header scanner, against pydicom and against damage."""

import io

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MRImageStorage,
)

from operators.ingest.elements import SIEMENS_B_VALUE, SIEMENS_DIRECTION
from operators.ingest.header import HeaderValueError
from operators.ingest.scan import UnreadableFileError, scan_file

MR = frozenset({str(MRImageStorage)})


def data_set() -> Dataset:
    image = Dataset()
    image.SOPClassUID = MRImageStorage
    image.SOPInstanceUID = "1.2.3"
    image.SeriesInstanceUID = "1.2"
    image.ImageType = ["ORIGINAL", "PRIMARY", "M"]
    image.ImagePositionPatient = [1.5, -2.25, 3e-5]
    image.DiffusionBValue = 1000.5
    image.Rows, image.Columns = 2, 3
    image.BitsAllocated = 16
    block = image.private_block(0x0019, "SIEMENS MR HEADER", create=True)
    block.add_new(0x0C, "IS", 700)
    block.add_new(0x0E, "FD", [0.0, 0.6, 0.8])
    code = Dataset()
    code.CodeValue = "mm2/s"
    mapping = Dataset()
    mapping.RealWorldValueSlope = 1e-6
    mapping.MeasurementUnitsCodeSequence = Sequence([code])
    image.RealWorldValueMappingSequence = Sequence([mapping, mapping])
    # Passed over: a sequence that holds pixel data and kept elements of its own.
    icon = Dataset()
    icon.Rows, icon.PixelData = 99, b"\0" * 20
    icon["PixelData"].VR = "OB"
    image.IconImageSequence = Sequence([icon])
    image.PixelData = np.arange(6, dtype="<u2").tobytes()
    image["PixelData"].VR = "OW"
    return image


def written(image: Dataset, syntax=ExplicitVRLittleEndian, undefined=False, bare=False) -> bytes:
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = syntax
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    if undefined:
        for element in image:
            if element.VR == "SQ":
                element.is_undefined_length = True
                for item in element.value:
                    item.is_undefined_length_sequence_item = True
    stream = io.BytesIO()
    pydicom.dcmwrite(stream, image, enforce_file_format=not bare, implicit_vr=None)
    return stream.getvalue()


def scan(content: bytes):
    return scan_file(io.BytesIO(content), len(content), MR)


@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian]
)
@pytest.mark.parametrize("undefined", [False, True])
def test_kept_elements_are_those_that_pydicom_reads(syntax, undefined):
    content = written(data_set(), syntax, undefined)
    _, transfer_syntax, header, pixels = scan(content)
    read = pydicom.dcmread(io.BytesIO(content))
    assert transfer_syntax == syntax
    assert header.vector("ImagePositionPatient", 3) == tuple(map(float, read.ImagePositionPatient))
    assert header.number("DiffusionBValue") == read.DiffusionBValue
    assert header.tokens("ImageType") == tuple(read.ImageType)
    assert header.number("Rows") == 2
    assert header.number(SIEMENS_B_VALUE) == 700
    assert header.vector(SIEMENS_DIRECTION, 3) == (0.0, 0.6, 0.8)
    first, second = header.items("RealWorldValueMappingSequence")
    assert first.items("MeasurementUnitsCodeSequence")[0].text("CodeValue") == "mm2/s"
    assert second.number("RealWorldValueSlope") == 1e-6
    assert content[pixels.offset : pixels.offset + pixels.length] == read.PixelData


def test_private_blocks_are_found_wherever_they_are_reserved():
    image = data_set()
    for tag in (0x00190010, 0x0019100C, 0x0019100E):
        del image[tag]
    image.private_block(0x0019, "SOMEBODY ELSE", create=True).add_new(0x0C, "IS", 1)
    image.private_block(0x0019, "siemens mr header ", create=True).add_new(0x0C, "IS", 250)
    assert scan(written(image)).header.number(SIEMENS_B_VALUE) == 250


def test_private_elements_of_unknown_vr_are_read_as_documented():
    image = data_set()
    image[0x0019100C].VR = "UN"
    image[0x0019100C].value = b"700 "
    assert scan(written(image)).header.number(SIEMENS_B_VALUE) == 700


def test_a_file_without_preamble_is_read():
    content = written(data_set())
    assert scan(content[132:]).header.number("Rows") == 2
    data = written(data_set(), ImplicitVRLittleEndian)
    start = data.index(b"\x08\0\x08\0")
    assert scan(data[start:]).header.number("Rows") == 2


@pytest.mark.parametrize("value", ["abc", "1.5\\nan\\2", "inf\\1\\2", "1\\2"])
def test_a_position_that_is_no_three_numbers_is_malformed(value):
    image = data_set()
    content = written(image).replace(b"1.5\\-2.25\\3e-05 ", value.ljust(16).encode())
    with pytest.raises(HeaderValueError, match="ImagePositionPatient"):
        scan(content).header.vector("ImagePositionPatient", 3)


def test_deep_nesting_is_refused_without_recursion():
    depth = 10_000
    nested = b"\x08\0\x15\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\0\xe0\xff\xff\xff\xff" * depth
    content = written(data_set())
    start = scan(content).pixels.offset - 12
    with pytest.raises(UnreadableFileError, match="nested deeper"):
        scan(content[:start] + nested + content[start:])


def test_a_flood_of_items_is_refused():
    image = data_set()
    content = written(image)
    start = scan(content).pixels.offset - 12
    items = b"\xfe\xff\0\xe0\0\0\0\0" * 300_000
    length = len(items).to_bytes(4, "little")
    flood = b"\x00\x52\x30\x92SQ\0\0" + length + items
    with pytest.raises(UnreadableFileError, match="sequence items"):
        scan(content[:start] + flood + content[start:])


def test_a_long_header_is_read_beyond_the_first_piece():
    image = data_set()
    image.add_new(0x00091001, "OB", b"\0" * 300_000)
    image.private_block(0x0009, "X", create=True)
    assert scan(written(image)).pixels.length == 12


def test_a_long_header_of_another_kind_of_object_is_not_read():
    image = data_set()
    image.SOPClassUID = "1.2.840.10008.5.1.4.1.1.66"
    image.add_new(0x00090010, "LO", "X")
    image.add_new(0x00091001, "OB", b"\0" * 300_000)
    with pytest.raises(UnreadableFileError, match="Raw Data"):
        scan(written(image))


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_damage_is_answered_with_a_reason_and_nothing_else(data):
    content = bytearray(written(data_set()))
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(128, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(0, len(content)))]
    try:
        header = scan(bytes(content)).header
        header.tokens("ImageType")
        header.vector("ImagePositionPatient", 3)
        header.number("DiffusionBValue")
        header.items("RealWorldValueMappingSequence")
    except (UnreadableFileError, HeaderValueError):
        pass
