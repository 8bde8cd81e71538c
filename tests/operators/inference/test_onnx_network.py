"""Every network that ships runs on images as its metadata says, and takes no other shape."""

from pathlib import Path

import numpy as np
import pytest

from operators.inference.bundle import find_bundles, read_bundle
from operators.inference.onnx_network import OnnxNetwork

_MODELS = Path(__file__).parents[3] / "models"
_SHIPPED = find_bundles(_MODELS)


@pytest.mark.parametrize("folder", _SHIPPED, ids=[folder.name for folder in _SHIPPED])
def test_a_shipped_network_reproduces_its_golden_values(folder):
    bundle = read_bundle(folder)
    assert bundle.golden is not None, "without golden values a wrong answer goes unnoticed"
    assert OnnxNetwork(bundle, "cpu").provider == "CPUExecutionProvider"


def test_dimensions_of_one_name_have_one_length():
    bundle = read_bundle(_MODELS / "superres" / "networks" / "superres")
    network = OnnxNetwork(bundle, "cpu")
    with np.load(bundle.golden) as golden:
        inputs = {name: golden[f"input_{name}"] for name in bundle.metadata.inputs}
    narrow = inputs | {"mask": inputs["mask"][..., :-1]}
    with pytest.raises(ValueError, match=r"input mask of superres must be .*rows.*columns"):
        network.run(narrow)
    with pytest.raises(ValueError, match="takes"):
        network.run({name: inputs[name] for name in list(inputs)[1:]})
