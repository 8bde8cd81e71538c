"""Real mouse brains at 7 T: the voxelwise fit explains them at least as well as matching."""

from dataclasses import replace

import numpy as np
import pytest

from models.cest_mt.mouse import SCANS, analyse, load_scan, matched_residual


@pytest.mark.parametrize("name", SCANS)
def test_fit_leaves_no_more_than_the_dictionary(shared_data, name):
    scan = load_scan(shared_data("cest_mrf_mouse") / name)
    fit, matched = analyse(replace(scan, signal=scan.signal[::3], conditions=scan.conditions[::3]))
    residual = matched_residual(matched)
    assert float(fit.residual.mean()) <= float(residual.mean())
    # Matching uses the nearest T1 and T2 of its grid, which can suit a voxel better by chance.
    assert float((fit.residual <= 1.001 * residual).double().mean()) > 0.9
    assert float(fit.residual.median()) < 3.0
    # Steps of 1.8 % and 5 /s, and of T1 and T2, scatter the matched values, rates the most.
    for column, least in ((0, 0.9), (1, 0.8)):
        assert np.corrcoef(fit.values[:, column], matched.values[:, column])[0, 1] > least
    fraction, rate = fit.values.median(dim=0).values.tolist()
    assert 5 < fraction < 20
    assert 10 < rate < 60
