"""From the input folder to acquisitions: load, recognise, assemble, and list everything."""

from __future__ import annotations

from pathlib import Path

from operators.ingest.assemble import assemble, malformed
from operators.ingest.frames import frames_of
from operators.ingest.geometry import grid_of
from operators.ingest.header import HeaderValueError
from operators.ingest.protocol_table import protocol_table
from operators.ingest.recognise import Recognition, recognise
from operators.ingest.scan import UnreadableFileError
from operators.ingest.segmentation import (
    protocol_lines,
    recognise_segmentation,
    study_segmentation,
)
from operators.ingest.settings import IngestSettings
from operators.ingest.study import SEGMENTATIONS, Progress, StoredSeries, Study, load_study
from operators.vocabulary.acquisition import Acquisition, SeriesKind
from operators.vocabulary.refusal import Refusal
from operators.vocabulary.run import AcquiredStudy, SeriesSummary
from operators.vocabulary.study_segmentation import StudySegmentation


def acquire(
    folder: Path, settings: IngestSettings, progress: Progress | None = None
) -> AcquiredStudy:
    """Load ``folder`` and assemble every series of it that can be used.

    Args:
        folder: the input folder.
        settings: named series and rules.
        progress: told after each file, (files done, files in all).

    Raises:
        FileNotFoundError: there is no such folder.
    """
    return acquire_study(load_study(folder, progress), settings)


def acquire_study(study: Study, settings: IngestSettings) -> AcquiredStudy:
    """Assemble every series of ``study`` that can be used; refuse or list the others.

    No pixels are read.
    """
    acquisitions: list[Acquisition] = []
    segmentations: list[StudySegmentation] = []
    refusals: list[Refusal] = []
    summaries: list[SeriesSummary] = []
    for series in study.series:
        protocol: tuple[str, ...] = ()
        try:
            if series.images[0].sop_class_uid in SEGMENTATIONS:
                recognition, drawn = _acquire_segmentations(series, settings)
                segmentations += drawn
                protocol = tuple(line for one in drawn for line in protocol_lines(one))
            else:
                recognition, acquisition = _acquire_series(series, settings)
                if acquisition is not None:
                    acquisitions.append(acquisition)
                    protocol = protocol_table(acquisition)
        except _RefusedError as refused:
            recognition = refused.recognition
            refusals.append(refused.refusal)
        summaries.append(
            SeriesSummary(
                series_instance_uid=series.series_instance_uid,
                series_number=series.series_number,
                kind=recognition.kind,
                because=recognition.because,
                images=len(series.images),
                protocol=protocol,
            )
        )
    return AcquiredStudy(
        tuple(acquisitions),
        tuple(refusals),
        tuple(summaries),
        study.skipped,
        tuple(segmentations),
    )


class _RefusedError(Exception):
    """A series was refused after it had been recognised."""

    def __init__(self, recognition: Recognition, refusal: Refusal) -> None:
        self.recognition = recognition
        self.refusal = refusal


def _acquire_series(
    series: StoredSeries, settings: IngestSettings
) -> tuple[Recognition, Acquisition | None]:
    """What a series is, and its acquisition where there is something to acquire."""
    recognition = Recognition(SeriesKind.UNRECOGNISED, "its headers are malformed")
    try:
        frames = frames_of(series)
        recognition = recognise(series, frames, settings)
        if recognition.foreign:
            grid_of(frames)
        is_map = recognition.kind is SeriesKind.QUANTITY_MAP
        listed_only = is_map and recognition.unit_factor is None
        if recognition.kind is SeriesKind.UNRECOGNISED or listed_only:
            return recognition, None
        return recognition, assemble(series, frames, recognition, settings)
    except Refusal as refusal:
        named = refusal.of_series(series.series_instance_uid, series.series_number)
        raise _RefusedError(recognition, named) from refusal
    except (HeaderValueError, UnreadableFileError) as error:
        raise _RefusedError(recognition, malformed(series, error)) from error


def _acquire_segmentations(
    series: StoredSeries, settings: IngestSettings
) -> tuple[Recognition, list[StudySegmentation]]:
    """What a series of Segmentations is, and its objects; one that is refused refuses all."""
    recognition = Recognition(SeriesKind.SEGMENTATION, "SOP class Segmentation")
    try:
        recognition = recognise_segmentation(series, settings)
        if recognition.kind is SeriesKind.UNRECOGNISED:
            return recognition, []
        return recognition, [study_segmentation(image) for image in series.images]
    except Refusal as refusal:
        named = refusal.of_series(series.series_instance_uid, series.series_number)
        raise _RefusedError(recognition, named) from refusal
    except UnreadableFileError as error:
        raise _RefusedError(recognition, malformed(series, error)) from error
