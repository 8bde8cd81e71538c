"""Voxels that are exchanged during training: which they are depends on the step alone."""

import pytest
import torch

from models.cest_mt.fresh_voxels import FreshVoxels
from models.cest_mt.specification import AMIDE_3T, MT_3T
from models.cest_mt.training_set import simulate_values


@pytest.fixture
def fresh():
    def made(**changes):
        settings = {"parts": 3, "size": 4, "every": 10, "seed": 7, "device": "cpu"} | changes
        return FreshVoxels(MT_3T, **settings)

    return made


def test_signals_are_those_of_the_values(fresh):
    voxels = fresh().voxels
    torch.testing.assert_close(voxels.signal, simulate_values(MT_3T, voxels.values))


def test_one_part_after_the_other_is_exchanged(fresh):
    set_of = fresh()
    first = set_of.voxels.values.clone()
    set_of.at(9)
    assert torch.equal(set_of.voxels.values, first)
    set_of.at(10)
    assert not torch.equal(set_of.voxels.values[:4], first[:4])
    assert torch.equal(set_of.voxels.values[4:], first[4:])
    set_of.at(39)
    assert not (set_of.voxels.values == first).all(dim=1).any()


def test_a_run_that_is_taken_up_again_has_the_same_voxels(fresh):
    steady, resumed = fresh(), fresh()
    for step in range(36):
        steady.at(step)
    resumed.at(35)
    assert torch.equal(steady.voxels.values, resumed.voxels.values)
    assert torch.equal(steady.voxels.signal, resumed.voxels.signal)


def test_the_first_stage_sees_the_same_voxels():
    both = FreshVoxels(AMIDE_3T, 1, 4, 10, 7, "cpu", first_stage=MT_3T)
    names = [quantity.name for quantity in AMIDE_3T.varied]
    columns = [names.index(quantity.name) for quantity in MT_3T.varied]
    expected = simulate_values(MT_3T, both.voxels.values[:, columns])
    torch.testing.assert_close(both.first_signal, expected)
