"""Training: it learns, repeats itself, and resumes where it stopped."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from models.superres.training import (
    TrainingSettings,
    phantom_slices,
    rate_at,
    study_losses,
    train,
)

SETTINGS = TrainingSettings(steps=6, batch=2, size=32, phantoms=4, channels=8, blocks=1)


def _ignore(*_: float) -> None:
    """Stands for the progress bar."""


def test_a_run_repeats_and_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.superres.training._CHECKPOINT_EVERY", 3)
    phantoms = phantom_slices(SETTINGS, None, _ignore)
    whole, log = train(SETTINGS, phantoms, None, _ignore)
    again, _ = train(SETTINGS, phantoms, None, _ignore)

    class StoppedError(Exception):
        """Stands for an interruption."""

    def stop(step: int, *_: float) -> None:
        if step == 4:
            raise StoppedError

    with contextlib.suppress(StoppedError):
        train(SETTINGS, phantoms, tmp_path / "checkpoint", stop)
    resumed, resumed_log = train(SETTINGS, phantoms, tmp_path / "checkpoint", _ignore)
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value, rtol=0, atol=0)
        torch.testing.assert_close(resumed.state_dict()[name], value, rtol=1e-5, atol=1e-6)
    assert log.entries[-1][0] == resumed_log.entries[-1][0] == 6


@pytest.fixture(scope="module")
def losses_before_and_after() -> tuple[torch.Tensor, torch.Tensor]:
    """Guide synthesis and consistency, summed over studies that the training has not seen."""
    settings = replace(SETTINGS, steps=100, one_guide=0.0)
    phantoms = phantom_slices(settings, None, _ignore)
    losses = []
    for steps in (1, settings.steps):
        network, _ = train(replace(settings, steps=steps), phantoms, None, _ignore)
        with torch.no_grad():
            studies = [study_losses(network, phantoms, settings, 1000 + k) for k in range(6)]
        losses.append(torch.tensor(studies).sum(0))
    return losses[0], losses[1]


def test_training_lowers_the_objective_on_studies_that_it_has_not_seen(
    losses_before_and_after: tuple[torch.Tensor, torch.Tensor],
) -> None:
    before, after = losses_before_and_after
    assert float(after.sum()) < 0.95 * float(before.sum())


def test_training_lowers_both_losses(
    losses_before_and_after: tuple[torch.Tensor, torch.Tensor],
) -> None:
    before, after = losses_before_and_after
    assert bool((after < before).all())


def test_a_time_limit_ends_the_training_and_leaves_a_checkpoint(tmp_path: Path) -> None:
    phantoms = phantom_slices(SETTINGS, None, _ignore)
    _, log = train(SETTINGS, phantoms, tmp_path / "checkpoint", _ignore, seconds=1e-9)
    assert log.entries[-1][0] == 1
    assert (tmp_path / "checkpoint").exists()


def test_the_rate_rises_then_falls_to_nearly_zero() -> None:
    rates = [rate_at(progress / 100) for progress in range(101)]
    top = rates.index(max(rates))
    assert rates[top] == pytest.approx(1.0)
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert 0 < rates[-1] < 1e-3


@pytest.mark.slow
def test_phantoms_do_not_depend_on_the_number_of_processes() -> None:
    one, two = (phantom_slices(SETTINGS, None, _ignore, processes) for processes in (1, 2))
    torch.testing.assert_close(one, two, rtol=0, atol=0)
