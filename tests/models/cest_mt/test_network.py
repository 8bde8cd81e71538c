"""The networks: what they may depend on, what they may answer, and what ships."""

import hashlib
import json

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.cest_mt.bundle import NETWORKS
from models.cest_mt.evaluation import figures
from models.cest_mt.export import export_parameter_network, export_signal_network
from models.cest_mt.network import ParameterNetwork, SignalNetwork
from models.cest_mt.residual import relative_residual
from models.cest_mt.schedule import load_schedule
from models.cest_mt.specification import AMIDE_3T, BRAIN, LARGININE_3T, MT_3T, SPECIFICATIONS
from models.cest_mt.training import add_noise
from models.cest_mt.training_set import draw_values, simulate_values
from operators.vocabulary.quantity import QUANTITIES

ESTIMATORS = sorted(SPECIFICATIONS)
FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)
BUNDLES = ESTIMATORS + [f"{name}_signal" for name in ESTIMATORS]


@pytest.fixture(autouse=True)
def one_thread():
    """Small tensors gain nothing from a second thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def session(model):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def shipped(name):
    return session(str(NETWORKS / name / "model.onnx"))


def metadata_of(name):
    return json.loads((NETWORKS / name / "metadata.json").read_text(encoding="utf-8"))


def random_network(specification, seed=3):
    torch.manual_seed(seed)
    images = specification.images
    return ParameterNetwork(specification, torch.rand(images), torch.rand(images) + 0.1).eval()


def held_out(specification, voxels, seed, within=None):
    """Voxels never drawn in training, optionally only those within the given ranges."""
    values = draw_values(specification, voxels, seed)
    if within is not None:
        for column, quantity in enumerate(specification.varied):
            low, high = within[quantity.name]
            values = values[(values[:, column] >= low) & (values[:, column] <= high)]
    return values


def estimate(name, signal, values, specification):
    """Runs a shipped estimator; ``values`` are the voxels' true properties."""
    columns = {q.name: values[:, i : i + 1].numpy() for i, q in enumerate(specification.varied)}
    inputs = {q.name: columns[q.name] for q in specification.conditions}
    network = shipped(name)
    names = [output.name for output in network.get_outputs()]
    answers = network.run(names, {"signal": signal.numpy(), **inputs})
    return {key: torch.from_numpy(value[:, 0]) for key, value in zip(names, answers, strict=True)}


@pytest.mark.parametrize("specification", [MT_3T, LARGININE_3T], ids=lambda s: s.name)
def test_answer_does_not_depend_on_scale_or_on_other_voxels(specification):
    network = random_network(specification)
    signal = torch.rand(50, specification.images) + 0.05
    conditions = torch.rand(50, len(specification.conditions))
    with torch.no_grad():
        together = network.physical(signal, conditions)
        alone = network.physical(signal[7:8], conditions[7:8])
        scaled = network.physical(1234.5 * signal, conditions)
    for all_voxels, one_voxel, rescaled in zip(together, alone, scaled, strict=True):
        torch.testing.assert_close(all_voxels[7:8], one_voxel, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(all_voxels, rescaled, rtol=1e-4, atol=1e-4)


def test_conditions_beyond_the_trained_range_count_as_its_bound():
    network = random_network(MT_3T)
    signal = torch.rand(1, 31)
    upper = torch.tensor([[q.upper for q in MT_3T.conditions]])
    with torch.no_grad():
        torch.testing.assert_close(network(signal, upper), network(signal, upper * 50))


@settings(max_examples=30, deadline=None)
@given(FINITE, FINITE, st.integers(0, 30))
def test_every_finite_input_gives_a_finite_answer_within_range(value, condition, image):
    signal = np.zeros((2, 31), np.float32)
    signal[0, image] = value
    signal[1, :] = value
    column = np.full((2, 1), condition, np.float32)
    inputs = {"signal": signal} | {q.name: column for q in AMIDE_3T.conditions}
    network = shipped("amide_3t")
    names = [output.name for output in network.get_outputs()]
    answers = dict(zip(names, network.run(names, inputs), strict=True))
    for quantity in AMIDE_3T.parameters:
        mean, sd = answers[quantity.name], answers[f"{quantity.name}_sd"]
        assert np.isfinite(mean).all()
        assert (mean >= quantity.lower).all()
        assert (mean <= quantity.upper).all()
        assert (sd > 0).all()
        assert (sd <= 0.501 * quantity.span).all()


@pytest.mark.parametrize("name", ESTIMATORS)
def test_exported_graphs_compute_what_the_modules_compute(name):
    specification = SPECIFICATIONS[name]
    values = draw_values(specification, 40, 5)
    conditions = values[:, len(specification.estimated) :]
    signal = torch.rand(40, specification.images)
    network = random_network(specification)
    with torch.no_grad():
        mean, sd = network.physical(signal, conditions)
    inputs = {"signal": signal.numpy()}
    inputs |= {
        q.name: conditions[:, i : i + 1].numpy() for i, q in enumerate(specification.conditions)
    }
    exported = session(export_parameter_network(network).SerializeToString())
    for column, quantity in enumerate(specification.parameters):
        wanted = [quantity.name, f"{quantity.name}_sd"]
        found_mean, found_sd = exported.run(wanted, inputs)
        tolerance = 1e-5 * quantity.span
        np.testing.assert_allclose(found_mean[:, 0], mean[:, column], atol=tolerance)
        np.testing.assert_allclose(found_sd[:, 0], sd[:, column], atol=tolerance)

    surrogate = SignalNetwork(specification).eval()
    inputs = {q.name: values[:, i : i + 1].numpy() for i, q in enumerate(specification.varied)}
    (found,) = session(export_signal_network(surrogate).SerializeToString()).run(None, inputs)
    with torch.no_grad():
        np.testing.assert_allclose(found, surrogate(values), atol=1e-5)


@pytest.mark.parametrize("name", BUNDLES)
def test_shipped_bundle_is_whole_and_reproduces_its_golden_values(name):
    metadata = metadata_of(name)
    file = NETWORKS / name / metadata["model"]["file"]
    assert hashlib.sha256(file.read_bytes()).hexdigest() == metadata["model"]["sha256"]
    assert file.stat().st_size < 30e6
    assert metadata["name"] == name
    model = onnx.load(file)
    assert model.opset_import[0].version == metadata["opset"] >= 17
    assert not any(tensor.external_data for tensor in model.graph.initializer)

    network = shipped(name)
    data_format = metadata["network_data_format"]
    for nodes, kind in ((network.get_inputs(), "inputs"), (network.get_outputs(), "outputs")):
        assert [(node.name, node.shape) for node in nodes] == [
            (entry, details["shape"]) for entry, details in data_format[kind].items()
        ]
        for entry, details in data_format[kind].items():
            low, high = details["value_range"]
            assert low < high
            if entry != "signal":
                assert details["unit"] == QUANTITIES[entry].unit.value

    with np.load(NETWORKS / name / metadata["golden"]["file"]) as golden:
        inputs = {node.name: golden[f"input_{node.name}"] for node in network.get_inputs()}
        outputs = [node.name for node in network.get_outputs()]
        for output, found in zip(outputs, network.run(outputs, inputs), strict=True):
            low, high = data_format["outputs"][output]["value_range"]
            allowed = metadata["golden"]["tolerance"]["cpu"] * (high - low)
            assert np.abs(found - golden[f"output_{output}"]).max() <= allowed, output


@pytest.mark.parametrize("name", ESTIMATORS)
def test_shipped_bundle_fits_its_protocol(name):
    schedule = load_schedule(metadata_of(name)["protocol"])
    shape = metadata_of(name)["network_data_format"]["inputs"]["signal"]["shape"]
    assert shape == ["voxels", schedule.number_of_images]


def test_semisolid_parameters_of_unseen_brain_voxels():
    """Unseen T1, T2, B0, B1 and 1 % noise: the figures that the model card promises."""
    values = held_out(MT_3T, 40_000, 987, BRAIN)[:1500]
    generator = torch.Generator().manual_seed(0)
    signal = add_noise(simulate_values(MT_3T, values), torch.tensor(0.01), generator)
    found = estimate("mt_3t", signal, values, MT_3T)
    for column, (quantity, largest) in enumerate(zip(MT_3T.parameters, (3.0, 8.0), strict=True)):
        row = figures(
            quantity, values[:, column], found[quantity.name], found[f"{quantity.name}_sd"]
        )
        assert row.nrmse <= largest, row
        assert row.coverage is not None
        assert 58 <= row.coverage <= 80, row


@pytest.mark.parametrize("name", ["mt_3t", "larginine_3t"])
@pytest.mark.parametrize("noise", [0.005, 0.02])
def test_standard_deviations_are_calibrated_over_the_prior(name, noise):
    specification = SPECIFICATIONS[name]
    values = held_out(specification, 3000, 654)
    generator = torch.Generator().manual_seed(1)
    signal = add_noise(simulate_values(specification, values), torch.tensor(noise), generator)
    found = estimate(name, signal, values, specification)
    for column, quantity in enumerate(specification.parameters):
        row = figures(
            quantity, values[:, column], found[quantity.name], found[f"{quantity.name}_sd"]
        )
        assert row.coverage is not None
        assert 60 <= row.coverage <= 76, row


@pytest.mark.parametrize("name", ESTIMATORS)
def test_signal_surrogate_is_close_to_the_simulator(name):
    specification = SPECIFICATIONS[name]
    values = held_out(specification, 1500, 321)
    simulated = simulate_values(specification, values).numpy()
    inputs = {q.name: values[:, i : i + 1].numpy() for i, q in enumerate(specification.varied)}
    (predicted,) = shipped(f"{name}_signal").run(None, inputs)
    stated = metadata_of(f"{name}_signal")["training"]["held_out_error"]["rms"]
    assert np.sqrt(np.mean((predicted - simulated) ** 2)) <= 1.5 * stated
    assert np.median(relative_residual(simulated, predicted)) < 0.5
