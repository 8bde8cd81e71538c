"""Which weighted images of a study guide its maps, and why others must not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from operators.inference.guide_sequence import (
    GuideKind,
    Weighting,
    guide_kind,
    is_unclear,
    named_kind,
)
from operators.inference.map_set import MapSet, study_of
from operators.inference.resample import same_frame_of_reference
from operators.inference.settings import SuperresSettings
from operators.inference.target_grid import is_coarser, resolution_along
from operators.inference.wording import lengths
from operators.vocabulary.acquisition import Acquisition, WeightedImage
from operators.vocabulary.finding import Finding, Severity
from operators.vocabulary.refusal import Refusal

WEIGHTINGS: tuple[Weighting, ...] = ("t1w", "t2w")
LABELS = {"t1w": "T1w", "t2w": "T2w"}


@dataclass(frozen=True)
class Guide:
    """A weighted image that guides.

    Attributes:
        kind: what it is.
        acquisition: its series.
    """

    kind: GuideKind
    acquisition: Acquisition

    @property
    def label(self) -> str:
        """Weighting, for people: T1w or T2w."""
        return LABELS[self.kind.weighting]

    @property
    def number(self) -> int | None:
        """Series Number."""
        return self.acquisition.source.series_number

    @property
    def protocol(self) -> WeightedImage:
        """Its sequence parameters."""
        assert isinstance(self.acquisition.protocol, WeightedImage)
        return self.acquisition.protocol

    def read(self) -> np.ndarray:
        """Pixels (slices, rows, columns), float32."""
        return self.acquisition.volume().array[..., self.kind.volume]


@dataclass(frozen=True)
class GuideChoice:
    """The guides of a set of maps.

    Attributes:
        guides: by weighting, "t1w" and "t2w".
        refusals: why the study's only candidates for a weighting must not guide.
        findings: candidates that were left alone beside those chosen.
    """

    guides: dict[str, Guide]
    refusals: tuple[Refusal, ...]
    findings: tuple[Finding, ...]


def guide_candidates(acquisitions: Sequence[Acquisition]) -> list[Guide]:
    """Every weighted image of a study that is T1-weighted or T2-weighted."""
    found = []
    for one in acquisitions:
        if isinstance(one.protocol, WeightedImage):
            kind = guide_kind(one.protocol)
            if kind is not None:
                found.append(Guide(kind, one))
    return found


def choose_guides(
    acquisitions: Sequence[Acquisition], maps: MapSet, settings: SuperresSettings
) -> GuideChoice:
    """The finest T1w and T2w image that may guide the maps.

    A candidate that must not is a refusal where there is no other of its weighting, and a finding
    where there is.
    """
    guides: dict[str, Guide] = {}
    refusals: list[Refusal] = []
    findings: list[Finding] = []
    unclear = unclear_images(acquisitions)
    if unclear:
        findings.append(
            Finding(
                "weighting-unclear",
                f"Series {', '.join(map(str, unclear))} guide nothing: they state no TR or no TE. "
                "Name one under pipelines.superres with what is missing to use it.",
            )
        )
    for weighting in WEIGHTINGS:
        candidates = _candidates(acquisitions, weighting, settings)
        fit: list[Guide] = []
        refused: list[Refusal] = []
        for one in candidates:
            try:
                check_guide(one, maps)
                fit.append(one)
            except Refusal as refusal:
                source = one.acquisition.source
                refused.append(refusal.of_series(source.series_instance_uid, source.series_number))
        fit.sort(key=lambda one: one.acquisition.geometry.voxel_volume)
        if not fit:
            refusals += refused
            continue
        guides[weighting] = fit[0]
        findings += [_left_alone(LABELS[weighting], one) for one in refused]
        if len(fit) > 1:
            others = ", ".join(str(one.number) for one in fit[1:])
            findings.append(
                Finding(
                    "several-guides",
                    f"Of {len(fit)} {LABELS[weighting]} images series {fit[0].number} with the "
                    f"smallest voxels guides; series {others} were left alone.",
                    Severity.INFORMATION,
                )
            )
    return GuideChoice(guides, tuple(refusals), tuple(findings))


def _candidates(
    acquisitions: Sequence[Acquisition], weighting: Weighting, settings: SuperresSettings
) -> list[Guide]:
    """The series that the settings name, or every one of that weighting."""
    chosen = settings.guide(weighting)
    if chosen.series_number is None:
        return [one for one in guide_candidates(acquisitions) if one.kind.weighting == weighting]
    return [
        Guide(named_kind(one.protocol, weighting, chosen.sequence), one)
        for one in acquisitions
        if isinstance(one.protocol, WeightedImage)
        and one.source.series_number == chosen.series_number
    ]


def unclear_images(acquisitions: Sequence[Acquisition]) -> list[int | None]:
    """Series Numbers of weighted images of which nothing says how they are weighted."""
    return [
        one.source.series_number
        for one in acquisitions
        if isinstance(one.protocol, WeightedImage) and is_unclear(one.protocol)
    ]


def _left_alone(label: str, refusal: Refusal) -> Finding:
    return Finding(
        "guide-left-alone",
        f"{label} series {refusal.series_number} was left alone: {refusal.reason}.",
        Severity.INFORMATION,
    )


def check_guide(guide: Guide, maps: MapSet) -> None:
    """Refuse what cannot show the same as the maps.

    Raises:
        Refusal: another study or Frame of Reference, contrast agent, or coarser than the maps.
    """
    geometry = guide.acquisition.geometry
    if study_of(guide.acquisition) != study_of(maps.members["t1"]):
        raise Refusal(
            "guide-of-another-study",
            f"the {guide.label} guide belongs to another study than the maps",
            "Send the images of one examination alone.",
        )
    if not same_frame_of_reference(geometry, maps.geometry):
        raise Refusal(
            "frame-of-reference-differs",
            f"the {guide.label} guide lies in another Frame of Reference (0020,0052) than the maps",
            "Register it to the maps, or acquire both without moving the patient out.",
        )
    if guide.protocol.contrast_agent:
        raise Refusal(
            "guide-after-contrast",
            f"the {guide.label} guide was acquired with a contrast agent (0018,0010), which "
            "changes T1",
            "Send the image from before the injection.",
        )
    if is_coarser(maps.geometry, geometry):
        raise Refusal(
            "guide-coarser-than-maps",
            f"the {guide.label} guide has voxels of "
            f"{lengths(resolution_along(maps.geometry, geometry))} along the axes of the maps, "
            f"whose voxels are {lengths(maps.geometry.spacing)}",
            "Send an image that is finer than the maps in plane and nowhere coarser.",
        )


def fat_suppression_finding(guide: Guide, maps: MapSet) -> Finding | None:
    """Says that fat was suppressed in the guide and not in the maps, or the other way round."""
    options = maps.members["t1"].source.header.get("ScanOptions") or ()
    tokens = [options] if isinstance(options, str) else list(options)
    in_maps = any(token in ("FS", "SFS") for token in tokens)
    in_guide = guide.protocol.fat_suppressed
    if in_guide is None or in_guide == in_maps:
        return None
    with_it, without = ("guide", "maps") if in_guide else ("maps", "guide")
    return Finding(
        "fat-suppression-differs",
        f"Fat was suppressed in the {with_it} and not in the {without} ({guide.label}, series "
        f"{guide.number}): values outside the brain, and near fat, must not be believed.",
    )
