"""Train-by-fit: what a study file must hold, and that a network learns one from physics alone."""

import json

import numpy as np
import pytest
import torch

from models.cest_mt.bundle import NETWORKS, load_parameter_network
from models.cest_mt.optimisation import TrainingSettings
from models.cest_mt.residual import relative_residual
from models.cest_mt.self_supervised import (
    StudyNetwork,
    calibrate,
    estimate_study,
    fresh_network,
    learn_study,
)
from models.cest_mt.specification import AMIDE_3T, LARGININE_3T, MT_3T
from models.cest_mt.study import MAPS, load_study, simulated_brain
from models.cest_mt.train import main
from models.cest_mt.training_set import simulate_values

SHAPE = (6, 16, 14)


@pytest.fixture(autouse=True)
def one_thread():
    """Small tensors gain nothing from a second thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def brain():
    return simulated_brain(SHAPE, noise=0.01, seed=3)


def residual_of(network, voxels):
    mean, _ = estimate_study(network, voxels)
    simulated = simulate_values(MT_3T, torch.cat([mean, voxels.conditions], dim=1))
    return relative_residual(voxels.signal.numpy(), simulated.numpy()).mean()


def write(file, study, **changes):
    arrays = {"mt_signal": study.signals["mt_3t"], **study.maps, "mask": study.mask} | changes
    np.savez(file, **{name: array for name, array in arrays.items() if array is not None})
    return file


def test_simulated_brain_has_tissue_inside_and_nothing_outside(brain):
    assert brain.mask.shape == SHAPE
    assert 0.3 < brain.mask.mean() < 0.6
    for name, signal in brain.signals.items():
        assert signal.shape == (*SHAPE, 31), name
        assert (signal[~brain.mask] == 0).all()
    inside = {name: values[brain.mask] for name, values in (brain.truth | brain.maps).items()}
    assert 4 < inside["mt_fraction"].min() < 8 < 12 < inside["mt_fraction"].max() < 18
    assert np.corrcoef(inside["t1"], inside["mt_fraction"])[0, 1] < -0.5


def test_study_file_is_read_back(brain, tmp_path):
    study = load_study(write(tmp_path / "s.npz", brain))
    assert np.array_equal(study.mask, brain.mask)
    voxels = study.voxels(MT_3T, {})
    assert voxels.signal.shape == (brain.mask.sum(), 31)
    np.testing.assert_allclose(voxels.conditions[:, 0], brain.maps["t1"][brain.mask], rtol=1e-6)


def test_voxels_that_cannot_be_analysed_are_left_out(brain, tmp_path):
    first = tuple(index[0] for index in np.nonzero(brain.mask))
    t1 = brain.maps["t1"].copy()
    t1[first] = np.nan
    study = load_study(write(tmp_path / "s.npz", brain, t1=t1))
    assert not study.mask[first]
    assert study.mask.sum() == brain.mask.sum() - 1
    assert study.left_out == 1
    without = load_study(write(tmp_path / "s.npz", brain, mask=None))
    assert np.array_equal(without.mask, brain.mask)


@pytest.mark.parametrize(("image", "value"), [(0, 0.0), (4, -0.1), (7, np.nan)])
def test_voxels_without_m0_or_with_impossible_signals_are_left_out_and_counted(
    brain, tmp_path, image, value
):
    signal = brain.signals["mt_3t"].copy()
    places = np.argwhere(brain.mask)[:3]
    signal[(*places.T, image)] = value
    study = load_study(write(tmp_path / "s.npz", brain, mt_signal=signal))
    assert not study.mask[tuple(places.T)].any()
    assert study.left_out == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"b0_shift": None}, "lacks b0_shift"),
        ({"t2": np.ones((3, 3))}, "has shape"),
        ({"mt_signal": np.ones((*SHAPE, 30), np.float32)}, "expected"),
        ({"t1": np.full(SHAPE, 1.2)}, "milliseconds"),
        ({"mask": np.zeros(SHAPE, bool)}, "no voxel"),
    ],
)
def test_study_files_that_cannot_be_meant_are_refused(brain, tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        load_study(write(tmp_path / "s.npz", brain, **change))


def test_a_fresh_network_learns_from_the_signals_alone(brain):
    voxels = brain.voxels(MT_3T, {})
    torch.manual_seed(0)
    network = StudyNetwork(fresh_network(MT_3T, voxels))
    before = residual_of(network, voxels)
    settings = TrainingSettings(steps=60, batch=128, learning_rate=2e-3, log_every=10)
    log = learn_study(network, voxels, settings)
    assert log.entries[-1][1] < log.entries[0][1]
    assert residual_of(network, voxels) < 0.6 * before


def test_refining_the_shipped_network_explains_the_study_no_worse(brain):
    voxels = brain.voxels(MT_3T, {})
    network = StudyNetwork(load_parameter_network(MT_3T))
    before = residual_of(network, voxels)
    learn_study(network, voxels, TrainingSettings(steps=40, batch=256, learning_rate=1e-4))
    assert residual_of(network, voxels) <= 1.01 * before


def test_calibration_makes_simulated_repeats_lie_within_their_sd(brain):
    voxels = brain.voxels(MT_3T, {})
    network = StudyNetwork(load_parameter_network(MT_3T))
    last = network.estimator.layers[-1]
    with torch.no_grad():
        last.bias[2:] -= 1.0
    factor = calibrate(network, voxels, noise=0.01, seed=1)
    assert (factor > 1.5).all()
    again = calibrate(network, voxels, noise=0.01, seed=2)
    torch.testing.assert_close(again, torch.ones(2), rtol=0.08, atol=0)


def test_shipped_weights_come_back_from_the_onnx_file():
    network = load_parameter_network(AMIDE_3T)
    with np.load(NETWORKS / "amide_3t" / "golden.npz") as golden:
        conditions = np.concatenate([golden[f"input_{q.name}"] for q in AMIDE_3T.conditions], 1)
        with torch.no_grad():
            mean, _ = network.physical(
                torch.from_numpy(golden["input_signal"]), torch.from_numpy(conditions)
            )
        np.testing.assert_allclose(mean[:, :1], golden["output_solute_fraction"], atol=1e-4)


def test_only_two_parameters_can_be_learned(brain):
    with pytest.raises(ValueError, match="exactly two"):
        StudyNetwork(load_parameter_network(LARGININE_3T))


def test_one_command_trains_both_stages_on_a_study(brain, tmp_path):
    file = write(tmp_path / "subject.npz", brain, amide_signal=brain.signals["amide_3t"])
    arguments = ["--study", str(file), "--refine", "--steps", "4", "--threads", "1"]
    main([*arguments, "--output", str(tmp_path)])
    folder = tmp_path / "subject" / "refined"
    for name in ("mt_3t", "amide_3t"):
        metadata = json.loads((folder / name / name / "metadata.json").read_text("utf-8"))
        assert metadata["data_source"] == "one study, self-supervised"
        assert (folder / name / "maps.png").read_bytes().startswith(b"\x89PNG")
    with np.load(folder / "maps.npz") as maps:
        assert maps["solute_fraction_sd"].shape == SHAPE
        assert (maps["mt_fraction"][~brain.mask] == 0).all()
    assert "voxelwise fit" in (folder / "figures.md").read_text("utf-8")


def test_the_command_wants_one_thing_to_train(capsys):
    with pytest.raises(SystemExit):
        main(["mt_3t", "--study", "x.npz"])
    assert "give one of" in capsys.readouterr().err
    assert set(MAPS) < {quantity.name for quantity in AMIDE_3T.conditions}
