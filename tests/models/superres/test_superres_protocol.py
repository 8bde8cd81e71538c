"""Sequences from headers: vendor's TR, missing parameters, nuisance fit."""

from __future__ import annotations

from dataclasses import replace

import pytest

from models.superres.held_out import T2_WEIGHTED, measured_study, procedural_phantom
from models.superres.protocol import fit_parameter, make_sequence, mprage_repetition_time
from models.superres.signal import FastSpinEcho, Mprage


@pytest.mark.parametrize(
    ("manufacturer", "meaning"),
    [
        ("SIEMENS", "shot_repetition_time"),
        ("Siemens Healthineers", "shot_repetition_time"),
        ("GE MEDICAL SYSTEMS", "shot_repetition_time"),
        ("Philips Medical Systems", "echo_spacing"),
    ],
)
def test_repetition_time_of_mprage(manufacturer: str, meaning: str) -> None:
    assert mprage_repetition_time(manufacturer) == meaning


def test_an_unknown_vendor_is_not_guessed() -> None:
    with pytest.raises(ValueError, match="ACME"):
        mprage_repetition_time("ACME")


def test_missing_strange_and_negative_parameters_are_named() -> None:
    with pytest.raises(ValueError, match="lacks effective_echo_time"):
        make_sequence("FSE", {"repetition_time": 4000})
    with pytest.raises(ValueError, match="has no flip_angle"):
        make_sequence("SE", {"repetition_time": 500, "echo_time": 10, "flip_angle": 90})
    with pytest.raises(ValueError, match="negative echo_time"):
        make_sequence("SE", {"repetition_time": 500, "echo_time": -1})
    with pytest.raises(ValueError, match="none of SE, FSE"):
        make_sequence("EPI", {})
    made = make_sequence("FSE", {"repetition_time": 4000, "effective_echo_time": 100})
    assert made == FastSpinEcho(4000, 100)


def test_echo_time_and_inversion_time_are_found_from_the_maps() -> None:
    phantom = procedural_phantom((144, 128), 13)
    study = measured_study(phantom, (2.0, 2.0))
    assert isinstance(study.sequences[0], Mprage)
    wrong = replace(
        study,
        sequences=(replace(study.sequences[0], inversion_time=700), FastSpinEcho(4000, 40)),
    )
    sequence, mismatch = fit_parameter(wrong, 1, "effective_echo_time", range(40, 161, 10))
    assert isinstance(sequence, FastSpinEcho)
    assert sequence.effective_echo_time == pytest.approx(T2_WEIGHTED.effective_echo_time, abs=10)
    assert min(mismatch) < 0.5 * max(mismatch)
    fitted, _ = fit_parameter(wrong, 0, "inversion_time", range(700, 1501, 100))
    assert isinstance(fitted, Mprage)
    assert fitted.inversion_time == pytest.approx(1100, abs=100)


def test_a_missing_guide_has_nothing_to_fit() -> None:
    study = measured_study(procedural_phantom((48, 48), 14), (2.0, 2.0), guides=(True, False))
    with pytest.raises(ValueError, match="missing guide"):
        fit_parameter(study, 1, "effective_echo_time", [100])
