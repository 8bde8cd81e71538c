"""Training: what is drawn, that it resumes exactly, and that one command does it all."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from models.cest_mt.bundle import load_parameter_network, load_signal_network
from models.cest_mt.dictionary import build_dictionary, levels_in_use, match
from models.cest_mt.network import ParameterNetwork
from models.cest_mt.optimisation import TrainingSettings
from models.cest_mt.residual import relative_residual
from models.cest_mt.specification import LARGININE_3T, MT_3T, SPECIFICATIONS
from models.cest_mt.train import main
from models.cest_mt.training import (
    FingerprintBatches,
    NoisyBatch,
    add_noise,
    likelihood_loss,
    misfit,
    settle_deviations,
    signal_statistics,
    train_parameter_network,
)
from models.cest_mt.training_set import VoxelSet, draw_values, simulate_values, simulated_set


@pytest.fixture(autouse=True)
def one_thread():
    """Small tensors gain nothing from a second thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


SMALL_GRID = {
    "mt_fraction": [5.0, 10.0, 15.0],
    "mt_exchange_rate": [20.0, 40.0],
    "t1": [900.0, 1400.0],
    "t2": [70.0],
    "b0_shift": [0.0],
    "b1_scale": [0.8, 1.0],
}


@pytest.mark.parametrize("name", sorted(SPECIFICATIONS))
def test_drawn_voxels_lie_within_their_ranges(name):
    specification = SPECIFICATIONS[name]
    values = draw_values(specification, 4096, 1)
    for column, quantity in zip(values.T, specification.varied, strict=True):
        # T2 may be cut at T1, which moves it down and never out of its range.
        assert column.min() >= quantity.lower * (1 - 1e-5)
        assert column.max() <= quantity.upper * (1 + 1e-5)
    names = [quantity.name for quantity in specification.varied]
    assert (values[:, names.index("t2")] <= values[:, names.index("t1")]).all()


def test_a_seed_gives_the_same_voxels_and_another_seed_others():
    assert torch.equal(draw_values(MT_3T, 64, 4), draw_values(MT_3T, 64, 4))
    assert not torch.equal(draw_values(MT_3T, 64, 4), draw_values(MT_3T, 64, 5))


def test_simulated_set_is_read_back_from_the_cache(tmp_path):
    values = draw_values(MT_3T, 16, 1)
    first = simulated_set(MT_3T, values, tmp_path)
    (file,) = tmp_path.iterdir()
    np.save(file, first.signal.numpy() + 1)
    torch.testing.assert_close(simulated_set(MT_3T, values, tmp_path).signal, first.signal + 1)
    other = simulated_set(MT_3T, draw_values(MT_3T, 16, 2), tmp_path)
    assert other.signal.max() <= 1.01


def test_noise_is_a_share_of_the_largest_image():
    signal = torch.tensor([[100.0, 50.0]]).expand(20_000, 2)
    noisy = add_noise(signal, torch.tensor([[0.02]]), torch.Generator().manual_seed(0))
    assert float((noisy - signal).std()) == pytest.approx(2.0, rel=0.02)


def test_likelihood_is_least_at_the_true_mean_and_sd():
    target = 0.4 + 0.1 * torch.randn(100_000, generator=torch.Generator().manual_seed(0))

    def loss(mean, sd):
        return float(likelihood_loss(torch.tensor(mean), torch.tensor(sd), target, beta=0.0))

    best = loss(0.4, 0.1)
    assert all(best < loss(*other) for other in ((0.42, 0.1), (0.4, 0.12), (0.4, 0.08)))


def test_an_interrupted_run_ends_where_an_uninterrupted_one_does(tmp_path, monkeypatch):
    monkeypatch.setattr("models.cest_mt.optimisation._CHECKPOINT_EVERY", 5)
    voxels = VoxelSet(draw_values(MT_3T, 256, 1), torch.rand(256, 31))
    settings = TrainingSettings(steps=12, batch=32)
    batches = FingerprintBatches(voxels, MT_3T)

    def fresh():
        torch.manual_seed(0)
        return ParameterNetwork(MT_3T)

    whole = fresh()
    train_parameter_network(whole, batches, 256, settings)

    def interrupt(rows, generator):
        interrupt.calls += 1
        if interrupt.calls > 8:
            raise KeyboardInterrupt
        return batches(rows, generator)

    interrupt.calls = 0
    checkpoint = tmp_path / "run.checkpoint"
    with pytest.raises(KeyboardInterrupt):
        train_parameter_network(fresh(), interrupt, 256, settings, checkpoint)
    resumed = fresh()
    train_parameter_network(resumed, batches, 256, settings, checkpoint)
    for ours, theirs in zip(resumed.parameters(), whole.parameters(), strict=True):
        assert torch.equal(ours, theirs)

    other = TrainingSettings(steps=13, batch=32)
    with pytest.raises(ValueError, match="other settings"):
        train_parameter_network(fresh(), batches, 256, other, checkpoint)


def test_one_command_leaves_bundles_figures_and_pictures(tmp_path):
    arguments = ["larginine_3t", "--voxels", "256", "--steps", "3", "--signal-steps", "3"]
    arguments += ["--held-out", "128", "--no-dictionary", "--threads", "1"]
    main([*arguments, "--output", str(tmp_path)])
    folder = tmp_path / "larginine_3t"
    for name in ("larginine_3t", "larginine_3t_signal"):
        metadata = json.loads((folder / name / "metadata.json").read_text(encoding="utf-8"))
        assert metadata["training"]["command"].startswith("python -m models.cest_mt.train")
        assert (folder / name / "model.onnx").exists()
    for picture in ("estimator_loss.png", "signal_loss.png", "estimator_scatter.png"):
        assert (folder / picture).read_bytes().startswith(b"\x89PNG")
    assert "NRMSE" in (folder / "figures.md").read_text(encoding="utf-8")


def test_amide_training_without_the_semisolid_network_says_what_to_do(tmp_path):
    with pytest.raises(SystemExit, match="train mt_3t first"):
        main(["amide_3t", "--voxels", "64", "--held-out", "8", "--output", str(tmp_path)])


def test_dictionary_finds_its_own_entries_at_any_scale():
    dictionary = build_dictionary(MT_3T, SMALL_GRID, ["t1", "b1_scale"])
    signal = 300 * simulate_values(MT_3T, dictionary.values)
    told = {"t1": dictionary.values[:, 2], "b1_scale": dictionary.values[:, 5]}
    found = match(dictionary, signal, told)
    torch.testing.assert_close(found.values, dictionary.values)
    torch.testing.assert_close(found.dot_product, torch.ones(len(signal)), atol=1e-5, rtol=0)


def test_dictionary_compares_only_entries_nearest_to_the_maps():
    dictionary = build_dictionary(MT_3T, SMALL_GRID, ["t1", "b1_scale"])
    signal = simulate_values(MT_3T, dictionary.values)
    told = {"t1": torch.full((len(signal),), 1300.0), "b1_scale": torch.full((len(signal),), 0.7)}
    found = match(dictionary, signal, told)
    assert set(found.values[:, 2].tolist()) == {1400.0}
    assert set(found.values[:, 5].tolist()) == {float(np.float32(0.8))}


def test_dictionary_grid_must_be_complete():
    with pytest.raises(ValueError, match="lacks t2"):
        build_dictionary(
            LARGININE_3T, {k: [1.0] for k in ("solute_fraction", "t1", "solute_exchange_rate")}
        )


def test_residual_is_the_sine_of_the_angle_between_signals():
    measured = np.array([[3.0, 4.0], [1.0, 0.0], [1.0, 0.0], [0.0, 0.0]], np.float32)
    predicted = np.array([[6.0, 8.0], [1.0, 1.0], [0.0, 5.0], [1.0, 1.0]], np.float32)
    expected = [0.0, 100 * np.sqrt(0.5), 100.0, 0.0]
    np.testing.assert_allclose(relative_residual(measured, predicted), expected, atol=1e-3)
    np.testing.assert_allclose(relative_residual(1e30 * measured, predicted), expected, atol=1e-3)


def test_residual_refuses_signals_of_different_shape():
    with pytest.raises(ValueError, match="differ"):
        relative_residual(np.ones((2, 3)), np.ones((2, 4)))


def test_levels_that_no_voxel_needs_change_no_match():
    generator = torch.Generator().manual_seed(1)
    values = draw_values(MT_3T, 12, 3)
    told = {"t1": 880 + 30 * torch.rand(12, generator=generator), "b1_scale": values[:, 5]}
    signal = torch.rand(12, 31, generator=generator)
    grid = levels_in_use(SMALL_GRID, told)
    assert grid["t1"] == [900.0]
    whole, used = (
        match(build_dictionary(MT_3T, one, ["t1", "b1_scale"]), signal, told)
        for one in (SMALL_GRID, grid)
    )
    assert torch.equal(whole.values, used.values)


def test_the_misfit_is_least_for_what_explains_the_signal():
    values = draw_values(LARGININE_3T, 64, 3)
    surrogate = load_signal_network(LARGININE_3T)
    with torch.no_grad():
        signal = 50 * surrogate(values)
    lower = torch.tensor([q.lower for q in LARGININE_3T.estimated])
    span = torch.tensor([q.span for q in LARGININE_3T.estimated])
    truth = (values - lower) / span
    batch = NoisyBatch(signal, values[:, :0], truth, torch.full((64, 1), 0.01))
    assert float(misfit(surrogate, truth, batch).detach()) == pytest.approx(0, abs=1e-4)
    moved = (truth + 0.05 * torch.tensor([1.0, 0, 0, 0])).clamp(0, 1)
    assert float(misfit(surrogate, moved, batch).detach()) > 0.1


def test_training_with_the_physics_leaves_a_smaller_residual():
    values = draw_values(LARGININE_3T, 512, 1)
    voxels = VoxelSet(values, simulate_values(LARGININE_3T, values))
    surrogate = load_signal_network(LARGININE_3T).requires_grad_(requires_grad=False)
    settings = TrainingSettings(steps=120, batch=128, log_every=10)
    misfits = []
    for weight in (0.0, 10.0):
        specification = replace(LARGININE_3T, physics_weight=weight, width=64)
        torch.manual_seed(0)
        network = ParameterNetwork(specification, *signal_statistics(voxels.signal, True))
        batches = FingerprintBatches(voxels, specification)
        train_parameter_network(network, batches, 512, settings, surrogate=surrogate)
        batch = batches(torch.arange(512), torch.Generator().manual_seed(5))
        with torch.no_grad():
            misfits.append(
                float(misfit(surrogate, network(batch.signal, batch.conditions)[0], batch))
            )
    assert misfits[1] < 0.9 * misfits[0]


def test_a_training_ends_in_its_time():
    voxels = VoxelSet(draw_values(MT_3T, 256, 1), torch.rand(256, 31))
    settings = TrainingSettings(steps=10**9, batch=8, log_every=1, seconds=1.0)
    network = ParameterNetwork(replace(MT_3T, width=8))
    log = train_parameter_network(network, FingerprintBatches(voxels, MT_3T), 256, settings)
    assert 0 < log.steps < 10**9


def test_the_pace_is_that_of_one_cycle():
    settings = TrainingSettings(steps=1000, learning_rate=0.01)
    optimiser = torch.optim.AdamW([torch.zeros(1, requires_grad=True)], lr=0.01)
    theirs = torch.optim.lr_scheduler.OneCycleLR(optimiser, 0.01, total_steps=1000, pct_start=0.03)
    for step in range(1000):
        rate, momentum = settings.pace(step / 1000)
        group = optimiser.param_groups[0]
        # They reach the peak and the end one step earlier.
        assert rate == pytest.approx(group["lr"], abs=0.06 * 0.01), step
        assert momentum == pytest.approx(group["betas"][0], abs=0.006), step
        if step < 999:
            optimiser.step()
            theirs.step()


def test_settling_the_deviations_calibrates_them_and_leaves_the_means():
    values = draw_values(LARGININE_3T, 2048, 1)
    with torch.no_grad():
        voxels = VoxelSet(values, load_signal_network(LARGININE_3T)(values))
    network = load_parameter_network(LARGININE_3T)
    with torch.no_grad():
        network.layers[-1].bias[4:] -= 1.5  # far too sure
    batches = FingerprintBatches(voxels, LARGININE_3T, noise_range=(0.01, 0.01))
    batch = batches(torch.arange(2048), torch.Generator().manual_seed(9))
    before, _ = network(batch.signal, batch.conditions)
    settings = TrainingSettings(steps=200, batch=256, learning_rate=0.01, weight_decay=0.0)
    settle_deviations(network, batches, 2048, settings)
    after, sd = network(batch.signal, batch.conditions)
    assert torch.equal(before, after)
    inside = ((after - batch.target).abs() <= sd).double().mean(dim=0)
    assert (inside[:2] > 0.6).all()
    assert (inside[:2] < 0.76).all()
