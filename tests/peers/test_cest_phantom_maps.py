"""The real 3 T L-arginine phantom: our network against the published maps, vial by vial.

Data and maps: github.com/momentum-laboratory/molecular-mrf (doi 10.1038/s41596-025-01152-w).
Nothing of it is used in training.
"""

from dataclasses import dataclass

import numpy as np
import onnxruntime
import pytest
import scipy.io
import scipy.ndimage
import torch

from models.cest_mt.bundle import NETWORKS
from models.cest_mt.residual import relative_residual
from models.cest_mt.specification import LARGININE_3T
from models.cest_mt.training_set import simulate_values

MILLIMOLAR = 110e3 / 3 / 100  # per percent of solute protons: three amine protons, 110 M water
CROP = slice(19, -19)


@dataclass
class Phantom:
    """Masked voxels of the phantom.

    Attributes:
        signal: (voxels, 30) measured.
        published: by dictionary matching, (voxels, 4): fraction %, rate /s, T1 ms, T2 ms.
        published_network: by the authors' network, (voxels, 2).
        dot_product: (voxels,) of the published match.
        vials: (voxels,) number of the vial, 0 at the rims.
    """

    signal: np.ndarray
    published: np.ndarray
    published_network: np.ndarray
    dot_product: np.ndarray
    vials: np.ndarray


@pytest.fixture(scope="module")
def phantom(shared_data):
    root = shared_data("cest_mrf_phantom")
    example = root / "dot_prod_example"
    images = scipy.io.loadmat(example / "data" / "acquired_data3T.mat")["dataToMatch"]
    maps = scipy.io.loadmat(example / "expected_out" / "quant_maps_3T.mat")
    network = scipy.io.loadmat(
        root / "deep_reco_example" / "expected_out" / "nn_reco_maps_clinical.mat"
    )
    mask = np.load(example / "mask_3T.npy")
    # Two vials touch: their cores are apart, and each inner voxel belongs to the nearest core.
    cores, number = scipy.ndimage.label(scipy.ndimage.binary_erosion(mask, iterations=2))
    assert number == 7
    nearest = scipy.ndimage.distance_transform_edt(
        cores == 0, return_distances=False, return_indices=True
    )
    vials = cores[tuple(nearest)] * scipy.ndimage.binary_erosion(mask)
    return Phantom(
        signal=images[:, CROP][:, mask].T.astype(np.float32),
        published=np.stack(
            [100 * maps["fs"][mask], maps["ksw"][mask]]
            + [1000 * maps[name][mask] for name in ("t1w", "t2w")],
            axis=1,
        ),
        published_network=np.stack([100 * network["fs"][mask], network["ksw"][mask]], axis=1),
        dot_product=maps["dp"][mask],
        vials=vials[mask],
    )


@pytest.fixture(scope="module")
def estimate(phantom):
    session = onnxruntime.InferenceSession(
        NETWORKS / "larginine_3t" / "model.onnx", providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    answers = session.run(names, {"signal": phantom.signal})
    return {name: values[:, 0] for name, values in zip(names, answers, strict=True)}


def agreement(ours, theirs):
    """Pearson's r and root mean square difference over the range of their values."""
    difference = np.sqrt(np.mean((ours - theirs) ** 2)) / np.ptp(theirs)
    return np.corrcoef(ours, theirs)[0, 1], difference


def vial_means(values, vials):
    return np.array([values[vials == vial].mean() for vial in range(1, vials.max() + 1)])


@pytest.mark.parametrize(("column", "name"), [(0, "solute_fraction"), (1, "solute_exchange_rate")])
def test_maps_agree_with_the_published_dictionary_match(phantom, estimate, column, name):
    scale = MILLIMOLAR if column == 0 else 1.0
    ours, theirs = estimate[name] * scale, phantom.published[:, column] * scale
    r, nrmse = agreement(ours, theirs)
    assert r >= 0.95
    assert nrmse <= 0.05
    r, nrmse = agreement(vial_means(ours, phantom.vials), vial_means(theirs, phantom.vials))
    assert r >= 0.99
    assert nrmse <= 0.05


@pytest.mark.parametrize(("column", "name"), [(0, "solute_fraction"), (1, "solute_exchange_rate")])
def test_maps_agree_with_the_published_network(phantom, estimate, column, name):
    r, nrmse = agreement(estimate[name], phantom.published_network[:, column])
    assert r >= 0.95
    assert nrmse <= 0.05


@pytest.mark.parametrize(("column", "name"), [(0, "solute_fraction"), (1, "solute_exchange_rate")])
def test_published_vial_values_lie_within_the_stated_uncertainty(phantom, estimate, column, name):
    for vial in range(1, phantom.vials.max() + 1):
        inside = phantom.vials == vial
        difference = estimate[name][inside].mean() - phantom.published[inside, column].mean()
        assert abs(difference) <= 2 * estimate[f"{name}_sd"][inside].mean(), vial


def test_our_simulator_gives_the_published_dot_products(phantom):
    values = torch.from_numpy(phantom.published).float()
    simulated = simulate_values(LARGININE_3T, values).numpy()
    unit = [
        signal / np.linalg.norm(signal, axis=1)[:, None] for signal in (simulated, phantom.signal)
    ]
    dot_product = np.sum(unit[0] * unit[1], axis=1)
    np.testing.assert_allclose(dot_product, phantom.dot_product, atol=2e-6)


def test_signal_residual_is_no_larger_than_that_of_the_published_maps(phantom, estimate):
    names = [quantity.name for quantity in LARGININE_3T.varied]
    ours = torch.from_numpy(np.stack([estimate[name] for name in names], axis=1))
    residuals = [
        relative_residual(phantom.signal, simulate_values(LARGININE_3T, values).numpy()).mean()
        for values in (ours, torch.from_numpy(phantom.published).float())
    ]
    assert residuals[0] <= 1.02 * residuals[1]
