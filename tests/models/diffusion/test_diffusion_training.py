from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from models.diffusion.bundle import write_bundle
from models.diffusion.channels import DTI
from models.diffusion.degradation import fit_noise, vary
from models.diffusion.prior import INPUTS, onnx_network
from models.diffusion.training import Progress, Slabs, resume, save, start, train


@pytest.fixture(scope="module")
def slabs() -> Slabs:
    generator = np.random.default_rng(0)
    blocks = generator.normal(0, 0.3, (4, 7, 3, 12, 12)).repeat(6, -1).repeat(6, -2)
    maps = DTI.mean[:, None, None, None] + blocks
    brain = torch.ones((4, 3, 72, 72), dtype=torch.bool)
    return Slabs(torch.as_tensor(maps, dtype=torch.float16), brain)


def _train(progress: Progress, slabs: Slabs, steps: int) -> Progress:
    torch.set_num_threads(1)
    running = train(progress, slabs, DTI, seconds=600, batch=2, rate=1e-3, seed=3)
    for _ in range(steps):
        next(running)
    return progress


def test_training_continues_from_a_checkpoint(slabs: Slabs, tmp_path: Path) -> None:
    progress = _train(start(DTI, 1e-3, torch.device("cpu"), 0), slabs, 3)
    save(progress, tmp_path / "checkpoint.pt")
    other = start(DTI, 1e-3, torch.device("cpu"), 1)
    resume(other, tmp_path / "checkpoint.pt")
    assert other.step == 3
    assert other.losses == progress.losses
    pairs = zip(other.network.parameters(), progress.network.parameters(), strict=True)
    assert all(torch.equal(one, another) for one, another in pairs)
    assert np.isfinite(_train(other, slabs, 1).losses).all()


def test_exported_network_takes_any_grid(slabs: Slabs, tmp_path: Path) -> None:
    progress = start(DTI, 1e-3, torch.device("cpu"), 0)
    folder = write_bundle(progress.average, DTI, tmp_path / "prior", {"steps": 0})
    assert json.loads((folder / "metadata.json").read_text("utf-8"))["name"] == "prior"
    generator = torch.Generator().manual_seed(0)
    shapes = {
        "maps": (5, 3, 7, 48, 32),
        "sd": (5, 7, 48, 32),
        "correlation": (5, 1, 48, 32),
        "brain": (5, 3, 48, 32),
    }
    inputs = [torch.rand(shapes[name], generator=generator) for name in INPUTS]
    with torch.no_grad():
        expected = progress.average(*inputs)
    found = onnx_network(folder / "model.onnx", 1)(*(tensor.numpy() for tensor in inputs))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other.numpy(), atol=1e-4)


def test_noise_of_the_examples_has_the_sd_that_the_network_is_told(slabs: Slabs) -> None:
    clean = slabs.maps.float()
    ratios = []
    for seed in range(12):
        generator = np.random.default_rng(seed)
        noisy = fit_noise(clean, generator, torch.Generator().manual_seed(seed))
        ratios.append(((noisy.maps - clean) / noisy.sd).square().mean(dim=(1, 2, 3, 4)))
        assert (noisy.correlation > 0).all()
        assert (noisy.correlation < 1).all()
    # The level told is off by 15 % from example to example, on purpose.
    assert float(torch.cat(ratios).median().sqrt()) == pytest.approx(1.0, abs=0.08)


def test_lesions_keep_tensors_positive(slabs: Slabs) -> None:
    clean = torch.zeros_like(slabs.maps, dtype=torch.float32)
    clean[:, 1:4] = 0.8
    changed = vary(clean, slabs.brain.float(), np.random.default_rng(0))
    assert (changed[:, 1:4] > 0.2).all()
    assert changed[:, 1].std() > 0
