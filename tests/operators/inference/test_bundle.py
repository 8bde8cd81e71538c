"""Bundles are found, read and verified; altered or incomplete ones are errors."""

import json
from pathlib import Path

import pytest
from toy_bundles import doubling

from operators.inference.bundle import BundleError, find_bundles, load_bundles, read_bundle


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return doubling(tmp_path / "cest_mt" / "networks" / "double", protocol="mrf_mt_3t")


def edit(folder: Path, **changes: object) -> None:
    file = folder / "metadata.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_a_bundle_says_what_goes_in_and_out(folder):
    metadata = read_bundle(folder).metadata
    assert (metadata.name, metadata.version, metadata.protocol) == ("double", "1.0.0", "mrf_mt_3t")
    assert list(metadata.inputs) == ["x"]
    assert metadata.inputs["x"].unit == "ms"
    assert metadata.inputs["x"].value_range == (0, 10)
    assert metadata.outputs["y"].channels == 3


def test_other_keys_of_monai_metadata_are_left_alone(folder):
    edit(folder, monai_version="1.6.1", changelog={"1.0.0": "first"})
    read_bundle(folder)


def test_bundles_are_found_by_pipeline(folder, tmp_path):
    doubling(tmp_path / "superres" / "networks" / "other")
    (tmp_path / "cest_mt" / "networks" / "empty").mkdir()
    (tmp_path / "README.md").touch()
    assert list(load_bundles(tmp_path, "cest_mt")) == ["double"]
    assert len(find_bundles(tmp_path)) == 2
    assert load_bundles(tmp_path, "diffusion") == {}


@pytest.mark.parametrize("byte", [0, -1])
def test_an_altered_network_is_an_error(folder, byte):
    network = folder / "model.onnx"
    content = bytearray(network.read_bytes())
    content[byte] ^= 1
    network.write_bytes(content)
    with pytest.raises(BundleError, match="SHA-256"):
        read_bundle(folder)


@pytest.mark.parametrize("file", ["model.onnx", "golden.npz", "metadata.json"])
def test_a_missing_file_is_an_error(folder, file):
    (folder / file).unlink()
    with pytest.raises(BundleError, match=file):
        read_bundle(folder)


def test_a_file_outside_the_bundle_is_an_error(folder, tmp_path):
    (folder / "model.onnx").rename(tmp_path / "model.onnx")
    edit(folder, model={"file": "../../../model.onnx", "sha256": "0" * 64})
    with pytest.raises(BundleError, match="missing"):
        read_bundle(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": {"file": "model.onnx", "sha256": "abc"}}, "sha256"),
        ({"network_data_format": {"inputs": {}, "outputs": {}}}, "inputs"),
        ({"version": 3}, "version"),
    ],
)
def test_metadata_that_cannot_be_understood_say_where(folder, changes, message):
    edit(folder, **changes)
    with pytest.raises(BundleError, match=message):
        read_bundle(folder)


def test_two_bundles_of_one_name_are_an_error(folder, tmp_path):
    doubling(tmp_path / "cest_mt" / "networks" / "second", name="double")
    with pytest.raises(BundleError, match="two bundles"):
        load_bundles(tmp_path, "cest_mt")
