"""The network of super-resolution runs tile by tile, and only where it does what it must."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from models.superres.network import Evidence
from operators.inference import onnx_image_session
from operators.inference.bundle import Bundle, BundleError, read_bundle
from operators.inference.onnx_image_session import OUTPUT, OnnxImageSession


@pytest.fixture
def golden(superres_bundles: Mapping[str, Bundle]) -> dict[str, np.ndarray]:
    bundle = superres_bundles["superres"]
    assert bundle.golden is not None
    with np.load(bundle.golden) as stored:
        return {name: stored[name] for name in stored.files}


def test_tiles_change_nothing(
    superres_bundles: Mapping[str, Bundle], golden: dict[str, np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    told = Evidence(*(torch.from_numpy(golden[f"input_{name}"]) for name in Evidence._fields))
    told = Evidence(*(torch.cat([value, value.flip(0), value]) for value in told))
    session = OnnxImageSession(superres_bundles["superres"], "cpu")
    whole = session.step(told)
    monkeypatch.setattr(onnx_image_session, "TILE_VOXELS", 1)
    torch.testing.assert_close(session.step(told), whole, rtol=1e-6, atol=1e-4)
    assert session.provider == "CPUExecutionProvider"


@pytest.mark.parametrize("channel", [0, 1, 2])
def test_a_map_that_deviates_by_little_of_its_own_range_is_refused(
    superres_bundles: Mapping[str, Bundle], golden: dict[str, np.ndarray], tmp_path: Path,
    channel: int,
) -> None:  # fmt: skip
    folder = tmp_path / "superres"
    shutil.copytree(superres_bundles["superres"].folder, folder)
    span = superres_bundles["superres"].metadata.outputs[OUTPUT].channel_ranges[channel][1]
    golden[f"output_{OUTPUT}"][:, channel] += 0.001 * span
    np.savez(folder / "golden.npz", **golden)
    with pytest.raises(BundleError, match="golden"):
        OnnxImageSession(read_bundle(folder), "cpu")
