"""Loads a study: every file is opened once, its header kept, its pixels left where they are."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pydicom
from pydicom.dataset import FileDataset
from pydicom.uid import (
    CTImageStorage,
    EnhancedMRColorImageStorage,
    EnhancedMRImageStorage,
    LegacyConvertedEnhancedMRImageStorage,
    MediaStorageDirectoryStorage,
    MRImageStorage,
    ParametricMapStorage,
    SegmentationStorage,
)

from operators.ingest.elements import UIH_MOSAIC_SEQUENCE
from operators.ingest.header import Header, HeaderValueError
from operators.ingest.pixels import StoredPixels, open_stored, stored_pixels
from operators.ingest.scan import UnreadableFileError, not_an_mr_image, scan_file
from operators.vocabulary.run import SkippedFile

MULTI_FRAME = frozenset(
    (
        EnhancedMRImageStorage,
        EnhancedMRColorImageStorage,
        LegacyConvertedEnhancedMRImageStorage,
        ParametricMapStorage,
    )
)
"""SOP classes of which frames are described by functional groups."""

LABEL_MAP_SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.7"
"""Label Map Segmentation Storage, which pydicom 3.0 does not know by name."""

SEGMENTATIONS = frozenset((SegmentationStorage, LABEL_MAP_SEGMENTATION))
"""SOP classes of regions that somebody drew."""

_WANTED = MULTI_FRAME | SEGMENTATIONS | {MRImageStorage, CTImageStorage}
_UID = re.compile(r"[0-9]+(\.[0-9]+)*")

Progress = Callable[[int, int], None]
"""Called with (files done, files in all)."""


@dataclass(frozen=True, slots=True)
class StoredImage:
    """One SOP Instance in a file.

    Attributes:
        path: its file.
        header: the elements that matter here.
        pixels: how and where its pixels are stored.
    """

    path: Path
    header: Header
    pixels: StoredPixels

    @property
    def sop_class_uid(self) -> str:
        """SOP Class UID (0008,0016)."""
        return self.header.text("SOPClassUID")

    @property
    def sop_instance_uid(self) -> str:
        """SOP Instance UID (0008,0018)."""
        return self.header.text("SOPInstanceUID")


def series_number(header: Header) -> int | None:
    """Series Number (0020,0011), or None where it is absent or no number."""
    try:
        number = header.number("SeriesNumber")
    except HeaderValueError:
        return None
    return None if number is None else int(number)


@dataclass(frozen=True)
class StoredSeries:
    """Images of one series and one SOP class, in the order of their file names.

    Some scanners export an acquisition both as classic and as Enhanced images, under one
    Series Instance UID; these become two series here.
    """

    images: tuple[StoredImage, ...]

    @property
    def first(self) -> Header:
        """Header of the first image."""
        return self.images[0].header

    @property
    def series_instance_uid(self) -> str:
        """Series Instance UID (0020,000E)."""
        return self.first.text("SeriesInstanceUID")

    @property
    def series_number(self) -> int | None:
        """Series Number (0020,0011), or None where it is absent or no number."""
        return series_number(self.first)

    @cached_property
    def data_set(self) -> FileDataset:
        """Complete data set of the first image without pixel data.

        Raises:
            UnreadableFileError: pydicom cannot read it.
        """
        stream, _ = open_stored(self.images[0].path)
        with stream:
            try:
                return pydicom.dcmread(stream, stop_before_pixels=True, force=True)
            # pydicom lets errors of many kinds through when an element is malformed; whatever
            # it raises, the answer is that this header cannot be read.
            except Exception as error:
                raise UnreadableFileError(f"cannot be read: {type(error).__name__}") from error


@dataclass(frozen=True)
class Study:
    """Everything in the input folder: series of images, and the files that are none.

    Attributes:
        folder: the input folder.
        series: by Series Number, then Series Instance UID.
        skipped: files that were left alone, and why.
    """

    folder: Path
    series: tuple[StoredSeries, ...]
    skipped: tuple[SkippedFile, ...]


def load_study(folder: Path, progress: Progress | None = None) -> Study:
    """Open every file below ``folder`` once and keep the headers of the images.

    Files are classic and Enhanced MR images, Parametric Maps, Segmentations, and CT images
    (whose geometry alone is looked at, to say why they are not used); gzip-compressed ones are
    read as if they were not. No pixels are read, and no more of a file than its header is held
    in memory.

    Args:
        folder: the input folder; symbolic links to folders are not followed.
        progress: told after each file.

    Returns:
        the series, and every other file with the reason why it was skipped.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"the input folder {folder} does not exist")
    return load_files(folder, sorted(_files(folder)), progress)


def load_files(folder: Path, paths: Sequence[Path], progress: Progress | None = None) -> Study:
    """Open some files below ``folder`` once; see ``load_study``.

    Args:
        folder: that all of them lie in.
        paths: in the order in which their images are kept.
        progress: told after each file.
    """
    groups: dict[tuple[str, str], list[StoredImage]] = {}
    skipped: list[SkippedFile] = []
    seen: dict[str, Path] = {}
    for done, path in enumerate(paths, start=1):
        relative = path.relative_to(folder)
        try:
            image = _read_image(path)
            uid = image.sop_instance_uid
            if uid in seen:
                raise UnreadableFileError(f"has the SOP Instance UID of {seen[uid]}")
        except UnreadableFileError as error:
            skipped.append(SkippedFile(relative, str(error)))
        else:
            seen[uid] = relative
            key = (image.header.text("SeriesInstanceUID"), image.sop_class_uid)
            groups.setdefault(key, []).append(image)
        if progress is not None:
            progress(done, len(paths))
    series = [StoredSeries(tuple(images)) for images in groups.values()]
    series.sort(key=lambda one: (one.series_number or 0, one.series_instance_uid))
    return Study(folder, tuple(series), tuple(skipped))


def _files(folder: Path) -> Iterator[Path]:
    for parent, _, names in os.walk(folder):
        for name in names:
            yield Path(parent, name)


def _read_image(path: Path) -> StoredImage:
    """The image in a file.

    Raises:
        UnreadableFileError: it is none, or none that can be used; the message says why.
    """
    try:
        mode = path.stat().st_mode
        # Opening a named pipe would wait for ever.
        if not stat.S_ISREG(mode):
            raise UnreadableFileError("is not a regular file")
        stream, size = open_stored(path)
        with stream:
            if size == 0:
                raise UnreadableFileError("is empty")
            sop_class, transfer_syntax, header, element = scan_file(stream, size, _WANTED)
    except OSError as error:
        raise UnreadableFileError(f"cannot be opened: {error.strerror}") from error
    if sop_class == MediaStorageDirectoryStorage:
        raise UnreadableFileError("is a DICOMDIR")
    if sop_class not in _WANTED:
        raise UnreadableFileError(not_an_mr_image(sop_class))
    if not header.text("SOPClassUID"):
        raise UnreadableFileError("states no SOP class in its data set")
    if element is None:
        raise UnreadableFileError("has no pixel data")
    drawn = sop_class in SEGMENTATIONS
    pixels = stored_pixels(header, element, transfer_syntax, size, single_bits=drawn)
    for keyword in ("SeriesInstanceUID", "SOPInstanceUID"):
        uid = header.text(keyword)
        if len(uid) > 64 or not _UID.fullmatch(uid):
            raise UnreadableFileError(f"has no valid {keyword}")
    _check_image_plane(header, sop_class, pixels.frames)
    return StoredImage(path, header, pixels)


def _check_image_plane(header: Header, sop_class: str, frames: int) -> None:
    """Skip what lies nowhere in the patient, and frames that nothing describes."""
    if sop_class in MULTI_FRAME | SEGMENTATIONS:
        described = len(header.items("PerFrameFunctionalGroupsSequence"))
        if described != frames:
            raise UnreadableFileError(f"has {frames} frames but describes {described}")
        return
    if frames != 1:
        raise UnreadableFileError(f"is a classic image of {frames} frames")
    try:
        placed = header.vector("ImagePositionPatient", 3) is not None or bool(
            header.items(UIH_MOSAIC_SEQUENCE)
        )
        complete = placed and (
            header.vector("ImageOrientationPatient", 6) is not None
            and header.vector("PixelSpacing", 2) is not None
        )
    except HeaderValueError as error:
        raise UnreadableFileError(str(error)) from None
    if not complete:
        raise UnreadableFileError("has no image plane (position, orientation and pixel spacing)")
