"""Every still-image transfer syntax gives the same voxels."""

import numpy as np
import pydicom
import pytest
from pydicom.uid import (
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)


@pytest.fixture(params=[False, True], ids=["unsigned", "signed"])
def original(request, write, volumes):
    values = volumes(slices=2, rows=40, columns=33, volumes=2) - 100 * request.param
    return write(values), values


def recode(folder, change):
    for path in (folder / "series1").iterdir():
        image = pydicom.dcmread(path)
        change(image)
        image.save_as(path)
    return folder


@pytest.mark.parametrize(
    "syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless], ids=lambda uid: uid.keyword
)
def test_compressed_frames(original, only, syntax):
    folder, values = original
    recode(folder, lambda image: image.compress(syntax, generate_instance_uid=False))
    np.testing.assert_array_equal(only(folder).volume().array, values)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_native_encodings(original, only, syntax):
    folder, values = original

    def change(image):
        if syntax == ExplicitVRBigEndian:
            image.PixelData = np.frombuffer(image.PixelData, "<u2").byteswap().tobytes()
        image.file_meta.TransferSyntaxUID = syntax

    for path in (folder / "series1").iterdir():
        image = pydicom.dcmread(path)
        change(image)
        pydicom.dcmwrite(
            path,
            image,
            implicit_vr=syntax == ImplicitVRLittleEndian,
            little_endian=syntax != ExplicitVRBigEndian,
            force_encoding=True,
        )
    np.testing.assert_array_equal(only(folder).volume().array, values)


def test_jpeg_lossless_as_gdcm_writes_it(original, only):
    gdcm = pytest.importorskip("gdcm", reason="python-gdcm encodes JPEG lossless for this test")
    folder, values = original
    for path in (folder / "series1").iterdir():
        reader = gdcm.ImageReader()
        reader.SetFileName(str(path))
        assert reader.Read()
        change = gdcm.ImageChangeTransferSyntax()
        change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer = gdcm.ImageWriter()
        writer.SetFile(reader.GetFile())
        writer.SetFileName(str(path))
        writer.SetImage(change.GetOutput())
        assert writer.Write()
    path = next((folder / "series1").iterdir())
    assert pydicom.dcmread(path).file_meta.TransferSyntaxUID == JPEGLosslessSV1
    np.testing.assert_array_equal(only(folder).volume().array, values)


def test_a_frame_that_is_larger_than_announced_is_refused_before_it_is_decoded(
    original, only, monkeypatch
):
    folder, _ = original

    def shrink(image):
        image.compress(JPEG2000Lossless, generate_instance_uid=False)
        image.Rows = 20

    recode(folder, shrink)
    acquisition = only(folder)
    monkeypatch.setattr(
        "operators.ingest.pixels.iter_pixels", lambda *_, **__: pytest.fail("was decoded")
    )
    with pytest.raises(ValueError, match="40×33, announced 20×33"):
        acquisition.volume()


def test_damaged_frames_are_refused(original, only):
    folder, _ = original

    def damage(image):
        image.compress(JPEG2000Lossless, generate_instance_uid=False)
        image.PixelData = image.PixelData[:60] + bytes(len(image.PixelData) - 60)

    recode(folder, damage)
    with pytest.raises(ValueError, match="undecodable-pixels"):
        only(folder).volume()


def test_lossy_compression_is_told(original, only):
    folder, _ = original

    def relabel(image):
        image.compress(JPEGLSLossless, generate_instance_uid=False)
        image.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.81"

    recode(folder, relabel)
    assert "lossy-compression" in {finding.code for finding in only(folder).findings}


def test_video_is_skipped(original, acquired):
    folder, _ = original

    def relabel(image):
        image.compress(JPEGLSLossless, generate_instance_uid=False)
        image.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.102"

    recode(folder, relabel)
    study = acquired(folder)
    assert {file.reason for file in study.skipped} == {
        "has a transfer syntax that is not supported"
    }
