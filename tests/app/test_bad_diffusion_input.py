"""Diffusion series that must not become numbers: each is named, and nothing is written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
from application_process import SECRETS, objects_in, result_in, run, write_diffusion_series

from app.result_file import ResultFile, RunStatus

SLICES = 5


def each(change: Callable[[pydicom.Dataset, int], None]) -> Callable[[list[Path]], None]:
    """Changes every image of a series: called with the data set and the number of its volume."""

    def spoil(files: list[Path]) -> None:
        for number, path in enumerate(files):
            image = pydicom.dcmread(path)
            change(image, number // SLICES)
            image.save_as(path)

    return spoil


def without_b_in_one_volume(image: pydicom.Dataset, volume: int) -> None:
    if volume == 3:
        del image.DiffusionBValue


def as_anonymised(image: pydicom.Dataset, volume: int) -> None:
    """What is left of a Siemens series once its private elements are removed."""
    del image.DiffusionBValue
    del image.DiffusionDirectionality
    if "DiffusionGradientOrientation" in image:
        del image.DiffusionGradientOrientation
    image.SequenceName = "*ep_b1000#1"
    image.AcquisitionNumber = volume + 1


def with_another_echo_time(image: pydicom.Dataset, volume: int) -> None:
    if volume == 6:
        image.EchoTime = 95.0


def with_another_scale(image: pydicom.Dataset, volume: int) -> None:
    if volume == 6:
        image.RescaleType = "normalized"


def all_zero(image: pydicom.Dataset, volume: int) -> None:
    image.PixelData = bytes(len(image.PixelData))


def without_a_slice(files: list[Path]) -> None:
    files[17].unlink()


SPOILT: dict[str, tuple[Callable[[list[Path]], None], str, str]] = {
    "missing b-values": (each(without_b_in_one_volume), "missing-b-values", ""),
    "private elements stripped": (each(as_anonymised), "missing-b-values", "private elements"),
    "unequal volumes": (without_a_slice, "missing-slices", ""),
    "mixed echo times": (each(with_another_echo_time), "mixed-echo-times", "95"),
    "mixed scalings": (each(with_another_scale), "mixed-scaling", ""),
    "all zero": (each(all_zero), "volume-empty", "no value above zero"),
}
NUMBERS = {name: number for number, name in enumerate(["few directions", *SPOILT], start=1)}


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int, str]:
    """One run over a study in which every series is bad: results, exit status, log."""
    study, out = tmp_path_factory.mktemp("study"), tmp_path_factory.mktemp("out")
    write_diffusion_series(study, number=NUMBERS["few directions"], directions=5)
    for name, (spoil, _, _) in SPOILT.items():
        spoil(write_diffusion_series(study, number=NUMBERS[name]))
    process = run("-i", study, "-o", out)
    return out, process.returncode, process.stderr


@pytest.fixture
def result(outcome: tuple[Path, int, str]) -> ResultFile:
    return result_in(outcome[0])


def test_the_run_fails_and_leaves_nothing(outcome, result):
    out, status, _ = outcome
    assert status == 3
    assert (result.status, result.exit_status) == (RunStatus.FAILED, 3)
    assert objects_in(out) == {}
    assert result.failure


@pytest.mark.parametrize(
    ("name", "rule", "words"),
    [
        ("few directions", "too-few-directions", "5 distinct"),
        *((name, rule, words) for name, (_, rule, words) in SPOILT.items()),
    ],
)
def test_every_series_is_named_with_its_reason(outcome, result, name, rule, words):
    (refusal,) = [one for one in result.refusals if one.number == NUMBERS[name]]
    assert refusal.rule == rule
    assert words in refusal.reason
    assert refusal.remedy
    assert refusal.needed
    lines = [json.loads(line) for line in outcome[2].splitlines() if line.startswith("{")]
    (told,) = [line for line in lines if line.get("series") == refusal.series]
    assert refusal.reason in told["message"]
    assert refusal.remedy in told["message"]


def test_no_patient_is_named(outcome):
    for secret in SECRETS:
        assert secret not in outcome[2]
