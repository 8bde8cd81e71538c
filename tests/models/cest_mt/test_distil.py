"""Distillation: a narrow network learns what a wide one answers."""

from dataclasses import replace

import pytest
import torch

from models.cest_mt import bundle
from models.cest_mt.distil import distil, divergence, main
from models.cest_mt.network import ParameterNetwork
from models.cest_mt.optimisation import TrainingSettings
from models.cest_mt.specification import MT_3T
from models.cest_mt.training import FingerprintBatches
from models.cest_mt.training_set import VoxelSet, draw_values

WIDE = replace(MT_3T, width=24)


@pytest.fixture(autouse=True)
def one_thread():
    """Small tensors gain nothing from a second thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def wide():
    torch.manual_seed(3)
    return ParameterNetwork(WIDE).eval()


def test_divergence_is_none_of_equals_and_grows_with_the_difference():
    mean, sd = torch.full((5, 2), 0.4), torch.full((5, 2), 0.1)
    assert float(divergence((mean, sd), mean, sd)) == pytest.approx(0, abs=1e-6)
    near = float(divergence((mean, sd), mean + 0.02, sd))
    assert 0 < near < float(divergence((mean, sd), mean + 0.1, sd))
    assert float(divergence((mean, sd), mean, 2 * sd)) > 0


def test_a_narrow_network_answers_as_the_wide_one(wide):
    voxels = VoxelSet(draw_values(MT_3T, 256, 1), torch.rand(256, 31))
    settings = TrainingSettings(steps=150, batch=64, weight_decay=0.0, log_every=25)
    narrow = replace(MT_3T, width=16)
    network, log = distil(wide, narrow, FingerprintBatches(voxels, MT_3T), 256, settings)
    assert network.layers[0].out_features == 16
    assert log.entries[-1][1] < 0.3 * log.entries[0][1]


def test_one_command_leaves_bundle_and_figures(wide, tmp_path):
    signal, conditions = torch.rand(4, 31), draw_values(MT_3T, 4, 1)[:, 2:]
    made = bundle.parameter_bundle(wide, signal, conditions, {"command": "the wide one's"})
    bundle.save(made, tmp_path / "wide" / "mt_3t")
    arguments = ["mt_3t", "--wide", str(tmp_path / "wide"), "--wide-width", "24", "--steps", "3"]
    arguments += ["--voxels", "256", "--held-out", "128", "--threads", "1"]
    main([*arguments, "--output", str(tmp_path)])
    narrow = bundle.load_parameter_network(MT_3T, tmp_path / "mt_3t")
    assert narrow.layers[0].out_features == MT_3T.width
    assert "wide network" in (tmp_path / "mt_3t" / "narrow_figures.md").read_text()
    text = (tmp_path / "mt_3t" / "mt_3t" / "metadata.json").read_text()
    assert "the wide one's" in text
