"""Cramér-Rao bounds of protocols: against finite differences, and as the physics has it."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from models.cest_mt.protocol_report import how_to_train, main
from models.cest_mt.schedule import SaturationSchedule, load_schedule
from models.cest_mt.sensitivity import (
    MT_PARAMETERS,
    SOLUTE_PARAMETERS,
    TISSUES,
    cramer_rao_bounds,
    sensitivities,
    tissue_signal,
)


@pytest.fixture(autouse=True)
def _one_torch_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def schedule() -> SaturationSchedule:
    """The first images of the amide fingerprint, which is quick."""
    whole = load_schedule("mrf_amide_3t")
    return replace(
        whole, offsets=whole.offsets[:8], b1=whole.b1[:8], images=whole.images[:8], name="short"
    )


def test_sensitivities_are_those_of_finite_differences(schedule: SaturationSchedule) -> None:
    tissue = TISSUES[0]
    derivative = sensitivities(schedule, tissue)
    for column, name in enumerate((*MT_PARAMETERS, *SOLUTE_PARAMETERS)):
        step = 1e-4 * getattr(tissue, name)
        above, below = (
            tissue_signal(schedule, replace(tissue, **{name: getattr(tissue, name) + sign * step}))
            for sign in (1, -1)
        )
        assert torch.allclose((above - below) / (2 * step), derivative[:, column], rtol=1e-4)


def test_bounds_grow_with_noise_and_with_what_is_unknown(schedule: SaturationSchedule) -> None:
    tissue = TISSUES[0]
    alone = cramer_rao_bounds(schedule, tissue, 0.01, SOLUTE_PARAMETERS)
    noisy = cramer_rao_bounds(schedule, tissue, 0.02, SOLUTE_PARAMETERS)
    together = cramer_rao_bounds(schedule, tissue, 0.01, (*MT_PARAMETERS, *SOLUTE_PARAMETERS))
    for name in SOLUTE_PARAMETERS:
        assert noisy[name] == pytest.approx(2 * alone[name])
        assert together[name] > alone[name]


def test_the_bound_is_that_of_the_inverse_information(schedule: SaturationSchedule) -> None:
    tissue = TISSUES[1]
    columns = [sensitivities(schedule, tissue)[:, 2:], tissue_signal(schedule, tissue)[:, None]]
    design = torch.cat(columns, dim=1).numpy()
    inverse = np.linalg.inv(design.T @ design)
    bounds = cramer_rao_bounds(schedule, tissue, 0.01, SOLUTE_PARAMETERS)
    assert np.allclose(list(bounds.values()), 0.01 * np.sqrt(np.diag(inverse))[:2], rtol=1e-5)


def test_too_few_images_tell_nothing(schedule: SaturationSchedule) -> None:
    two = replace(
        schedule, offsets=schedule.offsets[:2], b1=schedule.b1[:2], images=schedule.images[:2]
    )
    assert set(cramer_rao_bounds(two, TISSUES[0], 0.01, MT_PARAMETERS).values()) == {float("inf")}


def test_the_report_says_what_to_do_next(schedule: SaturationSchedule) -> None:
    assert "train mt_3t" in how_to_train(load_schedule("mrf_mt_3t"))
    assert "no network is needed" in how_to_train(load_schedule("wasabi_3t"))
    assert "NetworkSpecification" in how_to_train(schedule)


def test_the_command_prints_and_draws(tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["wasabi_3t", "--picture", str(tmp_path / "report.png")])
    assert "Cramér-Rao" in capsys.readouterr().out
    assert (tmp_path / "report.png").stat().st_size > 10_000
    with pytest.raises(SystemExit):
        main(["no_such_protocol"])
