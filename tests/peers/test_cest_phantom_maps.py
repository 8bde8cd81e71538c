"""The real 3 T L-arginine phantom: our network against the published maps, vial by vial.

Data and maps: github.com/momentum-laboratory/molecular-mrf (doi 10.1038/s41596-025-01152-w).
Nothing of it is used in training.
"""

import numpy as np
import pytest
import torch

from models.cest_mt.phantom import (
    MILLIMOLAR_PER_PERCENT,
    agreement,
    estimate,
    load_phantom,
    report,
    residual,
    vial_means,
)
from models.cest_mt.specification import LARGININE_3T
from models.cest_mt.training_set import simulate_values
from models.cest_mt.voxelwise_fit import fit_voxels


@pytest.fixture(scope="module")
def phantom(shared_data):
    return load_phantom(shared_data("cest_mrf_phantom"))


@pytest.fixture(scope="module")
def found(phantom):
    return estimate(phantom.signal)


@pytest.mark.parametrize(("column", "name"), [(0, "solute_fraction"), (1, "solute_exchange_rate")])
def test_maps_agree_with_the_published_dictionary_match(phantom, found, column, name):
    scale = MILLIMOLAR_PER_PERCENT if column == 0 else 1.0
    ours, theirs = found[name] * scale, phantom.matched[:, column] * scale
    r, nrmse = agreement(ours, theirs)
    assert r >= 0.95
    assert nrmse <= 0.05
    r, nrmse = agreement(vial_means(ours, phantom.vial), vial_means(theirs, phantom.vial))
    assert r >= 0.99
    assert nrmse <= 0.05


@pytest.mark.parametrize(("column", "name"), [(0, "solute_fraction"), (1, "solute_exchange_rate")])
def test_maps_agree_with_the_published_network(phantom, found, column, name):
    r, nrmse = agreement(found[name], phantom.network[:, column])
    assert r >= 0.95
    assert nrmse <= 0.05


@pytest.mark.parametrize(("column", "name"), [(0, "solute_fraction"), (1, "solute_exchange_rate")])
def test_published_vial_values_lie_within_the_stated_uncertainty(phantom, found, column, name):
    for vial in range(1, phantom.vial.max() + 1):
        inside = phantom.vial == vial
        difference = found[name][inside].mean() - phantom.matched[inside, column].mean()
        assert abs(difference) <= 2 * found[f"{name}_sd"][inside].mean(), vial


def test_our_simulator_gives_the_published_dot_products(phantom):
    values = torch.from_numpy(phantom.matched).float()
    simulated = simulate_values(LARGININE_3T, values).numpy()
    unit = [
        signal / np.linalg.norm(signal, axis=1)[:, None] for signal in (simulated, phantom.signal)
    ]
    dot_product = np.sum(unit[0] * unit[1], axis=1)
    np.testing.assert_allclose(dot_product, phantom.dot_product, atol=2e-6)


def test_signal_residual_is_at_most_that_of_the_published_match(phantom, found):
    """The published match is the best of 273,790 entries for each voxel."""
    ours = np.stack([found[q.name] for q in LARGININE_3T.parameters], axis=1)
    matched = residual(phantom, phantom.matched[:, :2])
    assert residual(phantom, ours) <= matched
    assert matched <= 100 * np.sqrt(1 - phantom.dot_product**2).mean()


def test_least_squares_fit_leaves_less_than_the_published_match(phantom, found):
    rows = slice(None, None, 8)
    signal = torch.from_numpy(phantom.signal)[rows]
    start = np.stack([found[q.name][rows] for q in LARGININE_3T.estimated], axis=1)
    none = torch.zeros(len(signal), 0)
    fit = fit_voxels(LARGININE_3T, signal, none, start=torch.from_numpy(start), iterations=10)
    matched = 100 * np.sqrt(1 - phantom.dot_product[rows] ** 2)
    assert float(fit.residual.mean()) <= matched.mean()
    for column in range(2):
        r, nrmse = agreement(fit.values[:, column].numpy(), phantom.matched[rows, column])
        assert r >= 0.95
        assert nrmse <= 0.05


@pytest.mark.slow
def test_report_names_every_vial_and_the_residuals(phantom):
    text = report(phantom)
    assert all(f"| {vial} |" in text for vial in range(1, 8))
    assert "| published network |" in text
