"""Pixels of one file: what its attributes announce, checked against the file, and reading them."""

from __future__ import annotations

import gzip
import io
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from pydicom.encaps import generate_frames
from pydicom.pixels import iter_pixels
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    ExplicitVRBigEndian,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLSNearLossless,
)

from operators.ingest.header import Header, HeaderValueError
from operators.ingest.scan import ENCAPSULATED, PixelElement, UnreadableFileError

LOSSY = frozenset((JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless, JPEG2000, HTJ2K))
"""Transfer syntaxes that may lose information; JPEG 2000 of these kinds may also be lossless."""

_FLOAT_BITS = {0x7FE00008: 32, 0x7FE00009: 64}
_LARGEST_GZIP = 256 * 1024**2
_BELIEVED_SIZE = 64 * 1024**2
_BELIEVED_COMPRESSION = 2000


@dataclass(frozen=True, slots=True)
class StoredPixels:
    """How the pixels of one file are stored (Image Pixel module, PS3.3 C.7.6.3).

    Attributes:
        offset: of the first byte in the file.
        transfer_syntax: Transfer Syntax UID.
        rows, columns, samples, frames: announced size; agrees with the file where native.
        dtype: of one native sample.
        bits_stored: bits of a sample that count; the rest may hold anything.
    """

    offset: int
    transfer_syntax: str
    rows: int
    columns: int
    samples: int
    frames: int
    dtype: np.dtype
    bits_stored: int

    @property
    def frame_bytes(self) -> int:
        """Bytes of one decoded frame."""
        return self.rows * self.columns * self.samples * self.dtype.itemsize

    @property
    def encapsulated(self) -> bool:
        """Whether the frames are compressed."""
        return self.transfer_syntax in ENCAPSULATED


class UndecodablePixelsError(ValueError):
    """The pixels of a file cannot be decoded; the message says why."""


def open_stored(path: Path) -> tuple[BinaryIO, int]:
    """Open a file for reading, transparently where it is gzip-compressed, and tell its size.

    Raises:
        UnreadableFileError: it is damaged gzip, or larger than 256 MiB when decompressed.
    """
    stream = path.open("rb", buffering=0)
    size = os.fstat(stream.fileno()).st_size
    magic = stream.read(2)
    stream.seek(0)
    if magic != b"\x1f\x8b":
        return stream, size
    with stream:
        try:
            content = gzip.GzipFile(fileobj=stream).read(_LARGEST_GZIP + 1)
        except (OSError, EOFError, ValueError) as error:
            raise UnreadableFileError("is damaged gzip") from error
    if len(content) > _LARGEST_GZIP:
        raise UnreadableFileError("is over 256 MiB when decompressed; decompress it first")
    return io.BytesIO(content), len(content)


def stored_pixels(
    header: Header,
    element: PixelElement,
    transfer_syntax: str,
    size: int,
    *,
    single_bits: bool = False,
) -> StoredPixels:
    """What the Image Pixel attributes announce, believed only as far as the file bears it out.

    Args:
        header: of the file.
        element: where its pixel data are.
        transfer_syntax: Transfer Syntax UID.
        size: bytes in the file.
        single_bits: whether samples may be single bits, as in a Segmentation; ``dtype`` is
            then that of an unpacked one.

    Raises:
        UnreadableFileError: an attribute is missing or impossible, or the file holds more or
            fewer pixels than announced.
    """
    try:
        rows = _whole(header, "Rows", 1, 65535)
        columns = _whole(header, "Columns", 1, 65535)
        samples = _whole(header, "SamplesPerPixel", 1, 4)
        frames = _whole(header, "NumberOfFrames", 1, 2**31 - 1, absent=1)
        floating = element.tag in _FLOAT_BITS
        fewest = 1 if single_bits else 8
        allocated = _FLOAT_BITS.get(element.tag) or _whole(header, "BitsAllocated", fewest, 32)
        stored = allocated if floating else _whole(header, "BitsStored", 1, allocated)
        signed = 0 if floating else _whole(header, "PixelRepresentation", 0, 1)
        high_bit = _whole(header, "HighBit", 0, 63, absent=stored - 1)
    except HeaderValueError as error:
        raise UnreadableFileError(str(error)) from None
    if allocated not in (1, 8, 16, 32, 64):
        raise UnreadableFileError(f"Bits Allocated {allocated} is not supported")
    if not floating and high_bit != stored - 1:
        raise UnreadableFileError(f"High Bit {high_bit} does not fit Bits Stored {stored}")
    if transfer_syntax == ExplicitVRBigEndian and allocated != 16:
        raise UnreadableFileError(f"big endian with Bits Allocated {allocated} is not supported")
    order = ">" if transfer_syntax == ExplicitVRBigEndian else "<"
    kind = "f" if floating else "ui"[signed]
    pixels = StoredPixels(
        element.offset,
        transfer_syntax,
        rows,
        columns,
        samples,
        frames,
        np.dtype(f"{order}{kind}{max(allocated // 8, 1)}"),
        stored,
    )
    _check_size(pixels, element, size, allocated)
    return pixels


def _whole(
    header: Header, keyword: str, lowest: int, highest: int, absent: int | None = None
) -> int:
    value = header.number(keyword)
    if value is None:
        if absent is None:
            raise UnreadableFileError(f"{keyword} is absent")
        return absent
    if value != int(value) or not lowest <= value <= highest:
        raise UnreadableFileError(f"{keyword} {value:g} is not between {lowest} and {highest}")
    return int(value)


def _check_size(pixels: StoredPixels, element: PixelElement, size: int, bits: int) -> None:
    """Refuse a file of which the pixel data contradict the announced size."""
    # Single bits are packed over the ends of frames (PS3.5 8.1.1).
    samples = pixels.rows * pixels.columns * pixels.samples
    announced = -(-samples * pixels.frames * bits // 8)
    frame = -(-samples * bits // 8)
    present = size - element.offset
    if pixels.encapsulated:
        if element.length is not None:
            raise UnreadableFileError("its pixel data are not encapsulated as announced")
        if announced > max(_BELIEVED_SIZE, _BELIEVED_COMPRESSION * present):
            raise UnreadableFileError(
                f"announces {announced} bytes of pixels, compressed to {present}"
            )
        return
    if element.length is None:
        raise UnreadableFileError("its native pixel data have no length")
    held = min(element.length, present)
    if held < announced:
        raise UnreadableFileError(f"announces {announced} bytes of pixels but holds {held}")
    if held >= announced + max(frame, 2):
        raise UnreadableFileError(f"holds {held} bytes of pixels but announces {announced}")


def read_frames(path: Path, pixels: StoredPixels) -> Iterator[np.ndarray]:
    """Frames of a file in stored order: (rows, columns) or (rows, columns, samples), stored values.

    Raises:
        UndecodablePixelsError: the file ends early, or its frames cannot be decoded.
    """
    stream, _ = open_stored(path)
    with stream:
        if pixels.encapsulated:
            yield from _encapsulated_frames(stream, pixels)
            return
        stream.seek(pixels.offset)
        shape = (pixels.rows, pixels.columns) + (pixels.samples,) * (pixels.samples > 1)
        for _ in range(pixels.frames):
            data = stream.read(pixels.frame_bytes)
            if len(data) < pixels.frame_bytes:
                raise UndecodablePixelsError("the file became shorter while it was read")
            yield _without_unused_bits(np.frombuffer(data, pixels.dtype).reshape(shape), pixels)


def _without_unused_bits(frame: np.ndarray, pixels: StoredPixels) -> np.ndarray:
    """The frame without bits above Bits Stored, which may hold overlays (PS3.5 8.1.1)."""
    unused = 8 * pixels.dtype.itemsize - pixels.bits_stored
    if unused == 0 or pixels.dtype.kind == "f":
        return frame
    return (frame << unused) >> unused


def _encapsulated_frames(stream: BinaryIO, pixels: StoredPixels) -> Iterator[np.ndarray]:
    stream.seek(pixels.offset)
    try:
        for frame in generate_frames(stream, number_of_frames=pixels.frames):
            _check_codestream(frame, pixels)
        stream.seek(0)
        # One named decoder: pydicom would take whichever happens to be installed.
        for decoded in iter_pixels(stream, raw=True, decoding_plugin="pylibjpeg"):
            expected = (pixels.rows, pixels.columns)
            if decoded.shape[:2] != expected:
                raise UndecodablePixelsError(f"a frame is {decoded.shape}, announced {expected}")
            yield decoded
    except UndecodablePixelsError:
        raise
    # Decoders are third-party code fed with damaged input; whatever they raise, the answer is
    # that the pixels cannot be decoded.
    except Exception as error:
        raise UndecodablePixelsError(f"{type(error).__name__}: {error}") from error


def _check_codestream(frame: bytes, pixels: StoredPixels) -> None:
    """Refuse a compressed frame of another size than announced, before a decoder allocates it.

    Reads the SIZ segment of JPEG 2000 (ISO/IEC 15444-1 A.5.1) or the frame header of JPEG and
    JPEG-LS (ISO/IEC 10918-1 B.2.2, 14495-1 C.2.2). RLE states no size of its own.
    """
    size: tuple[int, int] | None = None
    if frame[:4] == b"\xff\x4f\xff\x51":
        width, height, left, top = struct.unpack_from(">4I", frame, 8)
        size = (height - top, width - left)
    elif frame[:2] == b"\xff\xd8":
        size = _jpeg_size(frame)
    if size is not None and size != (pixels.rows, pixels.columns):
        raise UndecodablePixelsError(
            f"a compressed frame is {size[0]}×{size[1]}, announced {pixels.rows}×{pixels.columns}"
        )


def _jpeg_size(frame: bytes) -> tuple[int, int] | None:
    """Rows and columns in the frame header of a JPEG or JPEG-LS stream."""
    position = 2
    while position + 9 <= len(frame) and frame[position] == 0xFF:
        marker = frame[position + 1]
        is_frame_header = 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)
        if is_frame_header or marker == 0xF7:
            rows, columns = struct.unpack_from(">HH", frame, position + 5)
            return rows, columns
        position += 2 + struct.unpack_from(">H", frame, position + 2)[0]
    return None
