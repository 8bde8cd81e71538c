"""What must not be sharpened, or not without a word: each by its own rule, through DICOM."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from operators.inference.bundle import Bundle
from operators.inference.settings import SuperresSettings
from operators.inference.superres import superres_outcome
from operators.ingest.acquire import acquire
from operators.ingest.settings import IngestSettings
from operators.vocabulary.run import PipelineOutcome
from tests.superres_phantom_study import (
    MPRAGE_SETTINGS,
    UID,
    PhantomStudy,
    simulated,
    write_guide,
    write_maps,
)

CONFIGURED = {"t1w": MPRAGE_SETTINGS}


class EnoughReadError(Exception):
    """Raised in place of the reconstruction, for input that must get that far."""


@pytest.fixture(scope="module")
def study() -> PhantomStudy:
    return simulated((8, 64, 64))


@pytest.fixture
def outcome(
    monkeypatch: pytest.MonkeyPatch, superres_bundles: Mapping[str, Bundle]
) -> Callable[..., PipelineOutcome]:
    """Analyses a folder up to the reconstruction, which raises EnoughReadError."""

    def stop(*_: object) -> None:
        raise EnoughReadError

    monkeypatch.setattr("operators.inference.superres._sharpened", stop)

    def analyse(
        folder: Path, settings: Mapping[str, Any] = CONFIGURED, **ingest: Any
    ) -> PipelineOutcome:
        acquired = acquire(folder, IngestSettings.model_validate(ingest))
        chosen = SuperresSettings.model_validate(settings)
        return superres_outcome(acquired, superres_bundles, chosen)

    return analyse


def rules(outcome: PipelineOutcome) -> list[str]:
    assert not outcome.results
    return [refusal.rule for refusal in outcome.refusals]


OTHER_STUDY = {
    "StudyInstanceUID": "1.2.826.0.1.3680043.10.2",
    "FrameOfReferenceUID": f"{UID}.0",
}


@pytest.mark.parametrize(
    ("common", "rule", "said"),
    [
        ({"ContrastBolusAgent": "Gadovist"}, "guide-after-contrast", "before the injection"),
        (OTHER_STUDY, "guide-of-another-study", "one examination"),
        ({"FrameOfReferenceUID": "1.2.3"}, "frame-of-reference-differs", "Register it"),
        ({"InversionTime": None}, "sequence-parameters-missing", "inversion_time"),
        ({"FlipAngle": None}, "sequence-parameters-missing", "pipelines.superres.t1w"),
    ],
)
def test_a_guide_that_must_not_guide(
    study: PhantomStudy, outcome: Callable[..., PipelineOutcome], tmp_path: Path,
    common: dict[str, Any], rule: str, said: str,
) -> None:  # fmt: skip
    write_maps(tmp_path, study)
    write_guide(tmp_path, study, "t1w", common)
    found = outcome(tmp_path)
    assert rules(found) == [rule]
    assert said in str(found.refusals[0])
    assert found.refusals[0].series_number == 4


def test_the_other_guide_goes_on_and_the_refusal_stays(
    study: PhantomStudy, outcome: Callable[..., PipelineOutcome], tmp_path: Path
) -> None:
    write_maps(tmp_path, study)
    write_guide(tmp_path, study, "t1w", {"ContrastBolusAgent": "Gadovist"})
    write_guide(tmp_path, study, "t2w")
    with pytest.raises(EnoughReadError):
        outcome(tmp_path)


def test_a_guide_that_is_coarser_than_the_maps(
    study: PhantomStudy, outcome: Callable[..., PipelineOutcome], tmp_path: Path
) -> None:
    write_maps(tmp_path, study)
    thick = study.affine.copy()
    thick[:3, 0] *= 2
    write_guide(tmp_path, study, "t2w", image=study.guides["t2w"][::2], affine=thick)
    assert rules(outcome(tmp_path)) == ["guide-coarser-than-maps"]


def test_a_guide_that_moved(
    study: PhantomStudy, outcome: Callable[..., PipelineOutcome], tmp_path: Path
) -> None:
    write_maps(tmp_path, study)
    moved = study.affine.copy()
    moved[:3, 3] += (5.0, 6.0, 0.0)
    write_guide(tmp_path, study, "t2w", affine=moved)
    found = outcome(tmp_path)
    assert rules(found) == ["guide-moved"]
    distance = re.search(r"lies ([\d.]+) mm", found.refusals[0].reason)
    assert distance
    assert float(distance[1]) == pytest.approx(np.hypot(5, 6), abs=0.3)


def test_guides_that_are_hardly_finer(
    study: PhantomStudy, outcome: Callable[..., PipelineOutcome], tmp_path: Path
) -> None:
    write_maps(tmp_path, study)
    wide = study.affine.copy()
    wide[:3, 1:3] *= 1.4
    write_guide(tmp_path, study, "t2w", affine=wide)
    assert rules(outcome(tmp_path)) == ["guide-coarser-than-maps"]


@pytest.mark.parametrize(
    ("scale", "units", "rule", "said"),
    [
        ({"t1": 0.001}, {}, "map-in-another-unit", 'unit "s"'),
        ({"t2": 0.001}, {}, "map-in-another-unit", "quantity t2"),
        ({}, {"proton_density": "1"}, "map-in-another-unit", 'unit "%"'),
        ({"t1": 20.0}, {}, "values-outside-physics", "between 200 and 3000"),
        ({"t2": 3.0, "t1": 0.25}, {}, "values-outside-physics", "T2 is longer than T1"),
        ({"proton_density": 7.0}, {}, "values-outside-physics", "relative to water"),
    ],
)
def test_values_that_are_not_what_they_are_said_to_be(
    study: PhantomStudy, outcome: Callable[..., PipelineOutcome], tmp_path: Path,
    scale: dict[str, float], units: dict[str, str], rule: str, said: str,
) -> None:  # fmt: skip
    write_maps(tmp_path, study, scale, units)
    write_guide(tmp_path, study, "t2w")
    found = outcome(tmp_path)
    assert rules(found) == [rule]
    assert said in str(found.refusals[0])


def test_several_sets_of_maps(
    study: PhantomStudy, outcome: Callable[..., PipelineOutcome], tmp_path: Path
) -> None:
    write_maps(tmp_path, study)
    write_maps(tmp_path, study, first_number=11)
    write_guide(tmp_path, study, "t2w")
    assert rules(outcome(tmp_path)) == ["several-maps"]


def test_without_a_guide_or_a_map_there_is_nothing_to_do(
    study: PhantomStudy, outcome: Callable[..., PipelineOutcome], tmp_path: Path
) -> None:
    write_guide(tmp_path / "one", study, "t2w")
    assert "no PD and no T1 and no T2 map" in outcome(tmp_path / "one").idle_because
    write_maps(tmp_path / "two", study)
    write_guide(tmp_path / "two", study, "flair")
    assert "no T1w or T2w image" in outcome(tmp_path / "two").idle_because
    write_guide(tmp_path / "two", study, "t2w", {"RepetitionTime": None})
    assert "series 5 state no TR" in outcome(tmp_path / "two").idle_because


def test_a_guide_that_the_settings_complete(
    study: PhantomStudy, outcome: Callable[..., PipelineOutcome], tmp_path: Path
) -> None:
    write_maps(tmp_path, study)
    write_guide(tmp_path, study, "t2w", {"RepetitionTime": None})
    with pytest.raises(EnoughReadError):
        outcome(tmp_path, {"t2w": {"series_number": 5, "repetition_time": 4000}})


def test_fitting_can_be_forbidden(
    study: PhantomStudy, outcome: Callable[..., PipelineOutcome], tmp_path: Path
) -> None:
    write_maps(tmp_path, study)
    write_guide(tmp_path, study, "t1w")
    found = outcome(tmp_path, {"fit_missing": False})
    assert rules(found) == ["sequence-parameters-missing"]
    assert "echo_spacing, readouts, centre_readout" in found.refusals[0].reason


def test_dark_guides(
    study: PhantomStudy, outcome: Callable[..., PipelineOutcome], tmp_path: Path
) -> None:
    write_maps(tmp_path, study)
    write_guide(tmp_path, study, "t2w", image=np.zeros_like(study.guides["t2w"]))
    assert rules(outcome(tmp_path)) == ["volume-empty"]
