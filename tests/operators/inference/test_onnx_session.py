"""Sessions run where they are told, check themselves, and give each voxel its own answer."""

import importlib.metadata
from pathlib import Path

import numpy as np
import pytest
from toy_bundles import doubling

from operators.inference import onnx_network
from operators.inference.bundle import BundleError, read_bundle
from operators.inference.cores import available_cores
from operators.inference.onnx_network import (
    DeviceUnavailableError,
    check_installation,
    cuda_devices,
)
from operators.inference.onnx_session import CHUNK_VOXELS, OnnxSession


@pytest.fixture
def session(tmp_path: Path) -> OnnxSession:
    return OnnxSession(read_bundle(doubling(tmp_path / "double")), "cpu")


@pytest.mark.parametrize(
    "voxels", [1, 7, CHUNK_VOXELS - 1, CHUNK_VOXELS, CHUNK_VOXELS + 1, 3 * CHUNK_VOXELS]
)
def test_every_voxel_gets_its_answer_whatever_their_number(session, voxels):
    x = np.random.default_rng(voxels).uniform(0, 10, size=(voxels, 3)).astype(np.float32)
    y = session.predict({"x": x})["y"]
    assert y.dtype == np.float32
    assert np.array_equal(y, 2 * x)


def test_no_voxel_at_all_is_fine(session):
    assert session.predict({"x": np.zeros((0, 3), np.float32)})["y"].shape == (0, 3)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(session, bad):
    x = np.ones((5, 3), np.float32)
    x[3, 1] = bad
    with pytest.raises(ValueError, match="1 values that are not finite"):
        session.predict({"x": x})


@pytest.mark.parametrize(
    "features", [{}, {"z": np.ones((2, 3))}, {"x": np.ones((2, 3)), "z": np.ones(2)}]
)
def test_missing_and_unknown_inputs_are_refused(session, features):
    with pytest.raises(ValueError, match="takes"):
        session.predict(features)


def test_a_wrong_shape_is_refused(session):
    with pytest.raises(ValueError, match=r"must be \(2, 3\)"):
        session.predict({"x": np.ones((2, 4))})


def test_the_cpu_is_used_when_asked_for(session):
    assert session.provider == "CPUExecutionProvider"
    assert not session.fell_back


@pytest.mark.skipif(cuda_devices() > 0, reason="needs a machine without a CUDA device")
def test_without_a_device_auto_takes_the_cpu_and_cuda_raises(tmp_path):
    bundle = read_bundle(doubling(tmp_path / "double"))
    assert OnnxSession(bundle, "auto").provider == "CPUExecutionProvider"
    with pytest.raises(DeviceUnavailableError, match="--device auto or cpu"):
        OnnxSession(bundle, "cuda")


@pytest.mark.skipif(cuda_devices() > 0, reason="needs a machine without CUDA libraries")
def test_a_silent_fallback_of_onnx_runtime_is_noticed(tmp_path, monkeypatch):
    """A driver with a device, but no CUDA libraries: ONNX Runtime takes the CPU, in silence."""
    monkeypatch.setattr(onnx_network, "cuda_devices", lambda: 1)
    bundle = read_bundle(doubling(tmp_path / "double"))
    session = OnnxSession(bundle, "auto")
    assert session.provider == "CPUExecutionProvider"
    assert session.fell_back
    with pytest.raises(DeviceUnavailableError, match="cannot use it"):
        OnnxSession(bundle, "cuda")


@pytest.mark.skipif(cuda_devices() == 0, reason="needs a CUDA device")
def test_cuda_gives_the_same_answer(tmp_path):
    session = OnnxSession(read_bundle(doubling(tmp_path / "double")), "cuda")
    assert session.provider == "CUDAExecutionProvider"
    x = np.random.default_rng(0).uniform(size=(10_000, 3)).astype(np.float32)
    assert np.allclose(session.predict({"x": x})["y"], 2 * x)


def test_a_network_that_does_not_reproduce_its_golden_values_is_an_error(tmp_path):
    bundle = read_bundle(doubling(tmp_path / "double", golden_factor=2.001))
    with pytest.raises(BundleError, match="deviates from its golden values"):
        OnnxSession(bundle, "cpu")


def test_golden_values_that_are_not_numbers_are_an_error(tmp_path):
    bundle = read_bundle(doubling(tmp_path / "double", golden_factor=np.nan))
    with pytest.raises(BundleError, match="golden"):
        OnnxSession(bundle, "cpu")


def test_golden_values_are_not_compulsory(tmp_path):
    OnnxSession(read_bundle(doubling(tmp_path / "double", golden_factor=None)), "cpu")


def test_metadata_of_another_network_are_an_error(tmp_path):
    shape = {"dtype": "float32", "unit": "ms", "value_range": [0, 1], "shape": ["voxels", 4]}
    bundle = read_bundle(
        doubling(
            tmp_path / "double",
            network_data_format={"inputs": {"x": shape}, "outputs": {"y": shape}},
        )
    )
    with pytest.raises(BundleError, match="inputs are"):
        OnnxSession(bundle, "cpu")


@pytest.mark.parametrize("installed", [set(), {"onnxruntime", "onnxruntime-gpu"}])
def test_none_or_two_runtimes_are_an_error(monkeypatch, installed):
    def version(name: str) -> str:
        if name not in installed:
            raise importlib.metadata.PackageNotFoundError(name)
        return "1.0"

    monkeypatch.setattr(importlib.metadata, "version", version)
    with pytest.raises(RuntimeError, match="exactly one"):
        check_installation()


def test_here_one_runtime_is_installed():
    assert check_installation().startswith("onnxruntime")


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        ("cpu.max", "max 100000", None),
        ("cpu.max", "50000 100000", 1),
        ("cpu.max", "100000 100000", 1),
        ("nothing", "", None),
    ],
)
def test_cores_follow_the_quota_of_the_control_group(tmp_path, file, text, expected):
    (tmp_path / file).write_text(text)
    unlimited = available_cores(tmp_path / "absent")
    assert available_cores(tmp_path) == (unlimited if expected is None else expected)


def test_cores_follow_the_quota_of_version_1(tmp_path):
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("90000\n")
    assert available_cores(tmp_path) == 1
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("-1\n")
    assert available_cores(tmp_path) == available_cores(tmp_path / "absent")
