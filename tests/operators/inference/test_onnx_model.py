"""The SDK's model factory and our model type."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from monai.deploy.core import AppContext, Model
from monai.deploy.core.models import ModelFactory, NamedModel, TorchScriptModel, TritonModel
from toy_bundles import doubling

from operators.inference.onnx_model import OnnxModel


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A models folder with two bundles beside what a package folder holds."""
    doubling(tmp_path / "cest_mt" / "networks" / "one", protocol="a")
    doubling(tmp_path / "cest_mt" / "networks" / "two", protocol="b")
    (tmp_path / "__init__.py").touch()
    (tmp_path / "diffusion").mkdir()
    return tmp_path


@pytest.fixture
def _registered() -> Iterator[None]:
    before = Model.registered_models()
    Model.register([TritonModel, OnnxModel, NamedModel, TorchScriptModel, Model])
    yield
    Model.register(before)


def test_the_sdk_alone_loads_a_folder_of_onnx_models_as_empty(tmp_path):
    """The fault that ``OnnxModel`` is there for (App SDK 4.0.0)."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.onnx").write_bytes(b"onnx")
    loaded = ModelFactory.create(tmp_path)
    assert type(loaded) is NamedModel
    assert not loaded.items()


@pytest.mark.usefixtures("_registered")
def test_the_application_context_finds_every_bundle(models):
    loaded = AppContext({"model": str(models)}).models
    assert isinstance(loaded, OnnxModel)
    assert [name for name, _ in loaded.items()] == ["cest_mt/one", "cest_mt/two"]
    assert list(loaded.bundles("cest_mt")) == ["one", "two"]
    assert loaded.bundles("diffusion") == {}
    x = np.ones((5, 3), np.float32)
    assert np.array_equal(loaded.get("cest_mt/two")({"x": x})["y"], 2 * x)


@pytest.mark.usefixtures("_registered")
def test_a_bundle_folder_is_one_model(models):
    loaded = ModelFactory.create(models / "cest_mt" / "networks" / "one")
    assert isinstance(loaded, OnnxModel)
    assert loaded.get() is loaded
    assert loaded.bundle.metadata.protocol == "a"


@pytest.mark.usefixtures("_registered")
def test_other_folders_are_left_to_others(tmp_path):
    assert OnnxModel.accept(str(tmp_path)) == (False, "")
    assert OnnxModel.accept(str(tmp_path / "absent")) == (False, "")


def test_one_of_several_must_be_chosen(models):
    several = OnnxModel(str(models))
    with pytest.raises(ValueError, match="choose one"):
        several.session("cpu")


def test_a_session_is_loaded_once(models):
    model = OnnxModel(str(models)).get("cest_mt/one")
    assert model.session("cpu") is model.session("cpu")
