"""The benchmarks can be started; what needs a GPU says so where there is none."""

import importlib

import pytest

from benchmarks import gpu
from benchmarks.__main__ import NAMES
from benchmarks.device_pipelines import Sizes, device_rows
from operators.inference.onnx_network import cuda_devices


@pytest.mark.parametrize("name", NAMES)
def test_every_benchmark_is_there(name):
    assert callable(importlib.import_module(f"benchmarks.{name}").run)


def test_without_a_gpu_the_comparison_is_skipped_with_a_reason(capsys):
    if cuda_devices():
        pytest.skip("there is a GPU")
    assert gpu.main() == 0
    said = capsys.readouterr().out
    assert "CPUExecutionProvider" in said
    assert "skipped: the NVIDIA driver offers no CUDA device" in said


def test_the_pipelines_are_timed_on_a_device_beside_their_peers(capsys):
    rows = device_rows("cpu", Sizes(2_000, 64, (4, 32, 32), 48))
    assert {row.what.partition(":")[0] for row in rows} == {"cest_mt", "diffusion", "superres"}
    for row in rows:
        assert row.ours > 0
        assert (row.theirs is None) == (row.peer == "none")
    gpu.print_pipelines(rows)
    said = capsys.readouterr().out
    assert "no other peer: BMCTool" in said
