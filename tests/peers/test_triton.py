"""Networks on a real inference server give what they give here, and its absence is an error."""

import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from triton_server import NETWORKS, TritonServer, installed

from operators.inference import triton_session
from operators.inference.bundle import find_bundles, read_bundle
from operators.inference.onnx_network import OnnxNetwork
from operators.inference.onnx_session import OnnxSession
from operators.inference.triton_session import InferenceServerError, is_address

MODELS = Path(__file__).parents[2] / "models"
BUNDLES = {folder.name: read_bundle(folder) for folder in find_bundles(MODELS)}

pytestmark = pytest.mark.skipif(installed() is None, reason="needs requirements-peers.txt")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    running = TritonServer(tmp_path_factory.mktemp("triton"))
    running.start()
    yield running
    running.kill()


def golden_inputs(bundle) -> dict[str, np.ndarray]:
    with np.load(bundle.golden) as golden:
        return {name: golden[f"input_{name}"] for name in bundle.metadata.inputs}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_gives_the_same_answers_on_the_server(server, name):
    bundle = BUNDLES[name]
    inputs = golden_inputs(bundle)
    # Opening it compares signature and golden values on the server already.
    remote = OnnxNetwork(bundle, server.address)
    assert remote.provider == f"inference server {server.address}"
    here = OnnxNetwork(bundle, "cpu").run(inputs)
    for output, values in remote.run(inputs).items():
        low, high = bundle.metadata.outputs[output].value_range
        assert np.abs(values - here[output]).max() <= 1e-5 * (high - low), output


def test_any_number_of_voxels_is_sent_in_chunks(server):
    bundle = BUNDLES["mt_3t"]
    inputs = {name: np.tile(values, (300, 1)) for name, values in golden_inputs(bundle).items()}
    remote = OnnxSession(bundle, server.address).predict(inputs)
    here = OnnxSession(bundle, "cpu").predict(inputs)
    for output, values in here.items():
        np.testing.assert_allclose(remote[output], values, rtol=1e-4, atol=1e-4)


def test_another_network_of_the_same_name_is_refused(server):
    bundle = BUNDLES["mt_3t"]
    other = bundle.metadata.model.model_copy(update={"sha256": "0" * 64})
    altered = replace(bundle, metadata=bundle.metadata.model_copy(update={"model": other}))
    with pytest.raises(InferenceServerError, match="export the networks of this version"):
        OnnxNetwork(altered, server.address)


def test_a_network_that_the_server_lacks_is_refused(server):
    bundle = BUNDLES["mt_3t"]
    renamed = replace(bundle, metadata=bundle.metadata.model_copy(update={"name": "mt_7t"}))
    with pytest.raises(InferenceServerError, match="refused network mt_7t"):
        OnnxNetwork(renamed, server.address)


def test_a_server_that_is_killed_in_mid_call_and_comes_back_is_asked_again(server, monkeypatch):
    monkeypatch.setattr(triton_session, "_PAUSES", (1.0,) * 300)
    bundle = BUNDLES["amide_3t"]
    session = OnnxSession(bundle, server.address)
    inputs = {name: np.tile(values, (900, 1)) for name, values in golden_inputs(bundle).items()}
    expected = OnnxSession(bundle, "cpu").predict(inputs)
    found: list[dict[str, np.ndarray]] = []
    calls = threading.Thread(target=lambda: found.extend(session.predict(inputs) for _ in "ab"))
    calls.start()
    time.sleep(0.2)
    server.kill()
    server.start(wait=0)
    calls.join(timeout=400)
    assert len(found) == 2
    for answers in found:
        for output, values in expected.items():
            np.testing.assert_allclose(answers[output], values, rtol=1e-4, atol=1e-4)


def test_a_server_that_is_not_there_is_an_error_that_says_what_to_do(monkeypatch):
    monkeypatch.setattr(triton_session, "_PAUSES", (0.05, 0.05))
    with pytest.raises(InferenceServerError, match=r"in 3 tries .* set inference: local"):
        OnnxNetwork(BUNDLES["mt_3t"], "triton://127.0.0.1:9")


@pytest.mark.parametrize(
    ("address", "right"),
    [
        ("triton://gpu-server", True),
        ("triton://10.0.0.4:8001", True),
        ("triton://[::1]:8001", True),
        ("triton://", False),
        ("triton://host/path", False),
        ("http://host", False),
        ("cuda", False),
    ],
)
def test_addresses_have_one_form(address, right):
    assert is_address(address) is right
