"""The identity of an object, found without decoding it, against pydicom's decoding."""

from __future__ import annotations

import contextlib
import io
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pynetdicom.dsutils import encode

from app.node.encoded_header import (
    BIG_ENDIAN,
    DEFLATED,
    IMPLICIT,
    Identity,
    UnreadableObject,
    checked_uid,
    read_identity,
)
from app.node.part10 import read_file_meta
from tests.node.receiving import mr_image

EXPLICIT = "1.2.840.10008.1.2.1"
JPEG_LOSSLESS = "1.2.840.10008.1.2.4.70"


def identity_of(image: Dataset) -> Identity:
    return Identity(
        image.SOPClassUID,
        image.SOPInstanceUID,
        image.StudyInstanceUID,
        image.SeriesInstanceUID,
        image.get("Modality") or "",
        image.get("AccessionNumber") or "",
    )


def encoded(image: Dataset, syntax: str) -> bytes:
    data = encode(image, syntax == IMPLICIT, syntax != BIG_ENDIAN)
    assert data is not None
    if syntax != DEFLATED:
        return data
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(data) + compressor.flush()


def nested_image(*, undefined_lengths: bool) -> Dataset:
    """With sequences in sequences before the Study Instance UID, and a UID inside of one."""
    image = mr_image()
    inner, outer = Dataset(), Dataset()
    inner.StudyInstanceUID = "9.9.9"
    inner.ReferencedSOPInstanceUID = "9.9.9.1"
    outer.ReferencedSeriesSequence = [inner, Dataset()]
    image.ReferencedStudySequence = [outer, inner]
    if undefined_lengths:
        for data_set in (image, outer):
            for element in data_set:
                if element.VR == "SQ":
                    element.is_undefined_length = True
                    for item in element.value:
                        item.is_undefined_length_sequence_item = True
    return image


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN, DEFLATED, JPEG_LOSSLESS])
@pytest.mark.parametrize("undefined_lengths", [False, True])
def test_identity_is_found_in_every_encoding(syntax: str, undefined_lengths: bool) -> None:
    image = nested_image(undefined_lengths=undefined_lengths)
    assert read_identity(encoded(image, syntax), syntax) == identity_of(image)


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN, DEFLATED])
def test_a_beginning_gives_the_identity_or_a_refusal(syntax: str) -> None:
    image = nested_image(undefined_lengths=True)
    whole = encoded(image, syntax)
    for length in range(len(whole)):
        try:
            found = read_identity(whole[:length], syntax)
        except UnreadableObject:
            continue
        assert found == identity_of(image)


@given(st.binary(max_size=300), st.sampled_from([EXPLICIT, IMPLICIT, BIG_ENDIAN, DEFLATED]))
def test_any_bytes_are_refused_or_read_and_nothing_else(data: bytes, syntax: str) -> None:
    with contextlib.suppress(UnreadableObject):
        read_identity(data, syntax)


@given(st.data())
def test_a_damaged_object_is_refused_or_read_and_nothing_else(data: st.DataObject) -> None:
    damaged = bytearray(encoded(nested_image(undefined_lengths=True), EXPLICIT))
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, 400))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(UnreadableObject):
        read_identity(damaged, EXPLICIT)


def test_nesting_that_overflows_the_stack_of_others_is_refused() -> None:
    sequence = b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    with pytest.raises(UnreadableObject, match="nested"):
        read_identity(sequence * 100_000, EXPLICIT)


def test_a_small_object_that_inflates_without_end_is_refused() -> None:
    compressor = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    element = b"\x08\x00\x00\x00UT\0\0" + (200_000_000).to_bytes(4, "little")
    bomb = compressor.compress(element + bytes(100_000_000)) + compressor.flush()
    with pytest.raises(UnreadableObject):
        read_identity(bomb, DEFLATED)


@pytest.mark.parametrize(
    "text",
    ["", "../../etc/passwd", "1.2/3", "1..2", "1.2.", "abc", "1.2\\3", "1" * 65, "1.²", "1.-2"],
)
def test_what_is_no_uid_is_refused(text: str) -> None:
    with pytest.raises(UnreadableObject):
        checked_uid(text, "Study Instance UID")


@pytest.mark.parametrize(
    "name",
    [
        "dwi_philips_classic",
        "dwi_siemens_xa30_enhanced",
        "dwi_uih_mosaic",
        "dwi_ge_phantom",
        "dicom_results_by_dcmqi",
        "mr_series_that_must_be_refused",
    ],
)
def test_identity_of_real_objects_is_that_of_pydicom(
    name: str, shared_data: Callable[[str], Path]
) -> None:
    compared = 0
    for path in sorted(shared_data(name).rglob("*"))[::7]:
        try:
            image = dcmread(path, stop_before_pixels=True)
        except (InvalidDicomError, IsADirectoryError):
            continue
        with io.BytesIO(path.read_bytes()) as file:
            meta, length = read_file_meta(file)
            data_set = file.getvalue()[length:]
        assert read_identity(data_set, meta.transfer_syntax_uid) == identity_of(image)
        compared += 1
    assert compared
