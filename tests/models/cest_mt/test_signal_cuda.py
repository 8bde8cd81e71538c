"""The simulator, the training set and the fit give on a CUDA device what they give on the CPU."""

import pytest
import torch

from models.cest_mt.specification import AMIDE_3T, LARGININE_3T, MT_3T
from models.cest_mt.training_set import draw_values, simulate_values
from models.cest_mt.voxelwise_fit import fit_voxels

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")

SPECIFICATIONS = (MT_3T, AMIDE_3T, LARGININE_3T)


@pytest.mark.parametrize("specification", SPECIFICATIONS, ids=lambda one: one.name)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-3)])
def test_signals_are_the_same(specification, dtype, tolerance):
    values = draw_values(specification, 256, 5).to(dtype)
    there = simulate_values(specification, values.cuda()).cpu()
    torch.testing.assert_close(
        there, simulate_values(specification, values), rtol=0, atol=tolerance
    )


def test_a_fit_is_the_same():
    values = draw_values(MT_3T, 16, 6)
    signal = simulate_values(MT_3T, values)
    here = fit_voxels(MT_3T, signal, values[:, 2:], iterations=5)
    there = fit_voxels(MT_3T, signal.cuda(), values[:, 2:].cuda(), iterations=5)
    torch.testing.assert_close(there.values.cpu(), here.values, rtol=1e-4, atol=1e-4)
