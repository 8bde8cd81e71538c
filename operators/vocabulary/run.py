"""What travels between operators: an acquired study, pipeline outcomes, written objects."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from operators.vocabulary.acquisition import Acquisition, SeriesKind
from operators.vocabulary.finding import Finding
from operators.vocabulary.refusal import Refusal
from operators.vocabulary.result import PipelineResult
from operators.vocabulary.study_segmentation import StudySegmentation


@dataclass(frozen=True)
class SkippedFile:
    """A file that was left alone, and why (path relative to the input folder)."""

    path: Path
    reason: str


@dataclass(frozen=True)
class SeriesSummary:
    """One series of the input as a table row, recognised or not.

    Attributes:
        series_instance_uid: in clear; hash it before showing it.
        series_number: Series Number, or None.
        kind: what it was recognised as.
        because: which tags or rule decided.
        images: number of SOP Instances.
        protocol: protocol table as lines of text; empty where there is none.
    """

    series_instance_uid: str
    series_number: int | None
    kind: SeriesKind
    because: str
    images: int
    protocol: tuple[str, ...] = ()


@dataclass(frozen=True)
class AcquiredStudy:
    """The whole input, in order: what can be analysed, what was refused, what was skipped.

    Segmentations that came with the study lie beside the acquisitions: they are measured on the
    maps of every pipeline, whichever acquisition these come from.
    """

    acquisitions: tuple[Acquisition, ...]
    refusals: tuple[Refusal, ...]
    series: tuple[SeriesSummary, ...]
    skipped: tuple[SkippedFile, ...]
    segmentations: tuple[StudySegmentation, ...] = ()


@dataclass(frozen=True)
class PipelineOutcome:
    """What one pipeline did with the study.

    Attributes:
        pipeline: its name.
        results: one per analysed acquisition; empty when there was nothing for it.
        refusals: acquisitions that it had to refuse.
        idle_because: why it had nothing to do, or "" when it ran.
    """

    pipeline: str
    results: tuple[PipelineResult, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    idle_because: str = ""


@dataclass(frozen=True)
class WrittenObject:
    """One file of the results.

    Attributes:
        path: relative to the result folder.
        kind: "parametric map", "viewer image", "segmentation", "measurement report",
            "colour map", "colour viewer image", "summary page", "summary picture", "tractogram",
            "tractogram exchange file", "connectivity table", "synthetic image",
            "tissue fractions".
        sop_class_uid, sop_instance_uid, series_instance_uid: of a DICOM object; "" otherwise.
        quantity: name of the quantity for maps; "" otherwise.
        findings: what was changed in this object to fit its format (clamped values).
    """

    path: Path
    kind: str
    sop_class_uid: str = ""
    sop_instance_uid: str = ""
    series_instance_uid: str = ""
    quantity: str = ""
    findings: tuple[Finding, ...] = ()
