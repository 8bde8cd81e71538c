from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from models.diffusion.bundle import write_bundle
from models.diffusion.channels import DTI
from models.diffusion.degradation import Tables, fit_noise, vary
from models.diffusion.phantom import SLAB
from models.diffusion.prior import INPUTS, onnx_network, torch_network
from models.diffusion.random_draws import RandomDraws
from models.diffusion.scalars import fractional_anisotropy
from models.diffusion.training import (
    Examples,
    Pool,
    Progress,
    resume,
    save,
    settle_deviations,
    start,
    start_from,
    train,
)
from models.diffusion.training_inputs import Inputs
from models.diffusion.training_slabs import (
    Slabs,
    make_slabs,
    real_slabs,
    rotate_tensor_channels,
)


@pytest.fixture(scope="module")
def slabs() -> Slabs:
    generator = np.random.default_rng(0)
    blocks = generator.normal(0, 0.3, (4, 7, 3, 12, 12)).repeat(6, -1).repeat(6, -2)
    maps = DTI.mean[:, None, None, None] + blocks
    brain = torch.ones((4, 3, 72, 72), dtype=torch.bool)
    return Slabs(torch.as_tensor(maps, dtype=torch.float16), brain)


def _train(progress: Progress, slabs: Slabs, steps: int) -> Progress:
    torch.set_num_threads(1)
    running = train(progress, slabs, seconds=600, batch=2, rate=1e-3, seed=3)
    for _ in range(steps):
        next(running)
    return progress


def test_training_continues_from_a_checkpoint(slabs: Slabs, tmp_path: Path) -> None:
    progress = _train(start(1e-3, torch.device("cpu"), 0), slabs, 3)
    save(progress, tmp_path / "checkpoint.pt")
    other = start(1e-3, torch.device("cpu"), 1)
    resume(other, tmp_path / "checkpoint.pt")
    assert other.step == 3
    assert other.losses == progress.losses
    pairs = zip(other.network.parameters(), progress.network.parameters(), strict=True)
    assert all(torch.equal(one, another) for one, another in pairs)
    assert np.isfinite(_train(other, slabs, 1).losses).all()


def test_exported_network_takes_any_grid(slabs: Slabs, tmp_path: Path) -> None:
    progress = start(1e-3, torch.device("cpu"), 0)
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
    draws = RandomDraws(0)
    tables = Tables(draws)
    ratios = []
    for _ in range(12):
        noisy = fit_noise(clean, tables, draws)
        # The rim of Rice's distribution apart: where the relative error is small.
        certain = noisy.sd[:, 1:] < 0.3
        error = ((noisy.maps - clean) / noisy.sd)[:, 1:]
        ratios.append(error[certain].square().mean().sqrt())
        assert (noisy.correlation > 0).all()
        assert (noisy.correlation < 1).all()
    # The level told is off by 20 % from example to example, on purpose.
    assert float(torch.stack(ratios).median()) == pytest.approx(1.05, abs=0.12)


def test_an_example_that_is_used_again_is_turned_with_its_noise(slabs: Slabs) -> None:
    pool = Pool(Examples(slabs, 1, RandomDraws(0)), RandomDraws(1))
    uses = [pool.draw() for _ in range(4)]

    def errors(clean: torch.Tensor, noisy: torch.Tensor) -> torch.Tensor:
        difference = noisy - clean
        trace = difference[:, 1:4].sum(dim=1).flatten()
        norm = difference[:, 1:].square().sum(dim=1).flatten()
        return torch.stack((trace.sort().values, norm.sort().values))

    # Invariants of the error of the tensor are the same set of numbers, in other places.
    first = errors(uses[0][0], uses[0][1].maps)
    for clean, noisy, _ in uses[1:]:
        torch.testing.assert_close(errors(clean, noisy.maps), first, rtol=1e-4, atol=1e-4)
        sums = noisy.sd[:, 1:4].sum(dim=1).flatten().sort().values
        torch.testing.assert_close(sums, uses[0][1].sd[:, 1:4].sum(dim=1).flatten().sort().values)
    assert any(not torch.equal(clean, uses[0][0]) for clean, _, _ in uses[1:])


def test_settled_deviations_hold_two_thirds_of_the_errors(slabs: Slabs) -> None:
    progress = _train(start(1e-3, torch.device("cpu"), 0), slabs, 2)
    settle_deviations(progress.average, Examples(slabs, 2, RandomDraws(4)))
    again = settle_deviations(progress.average, Examples(slabs, 2, RandomDraws(5)))
    # Other examples of the same kind then need no other factor.
    torch.testing.assert_close(again, torch.ones_like(again), rtol=0, atol=0.1)


def test_lesions_keep_tensors_positive(slabs: Slabs) -> None:
    clean = torch.zeros_like(slabs.maps, dtype=torch.float32)
    clean[:, 1:4] = 0.8
    changed = vary(clean, slabs.brain.float(), RandomDraws(0))
    assert (changed[:, 1:4] > 0.02).all()
    assert changed[:, 1].std() > 0


def _inputs() -> Inputs:
    """A head of grey matter around a core of white matter, and a real map of one tensor."""
    axes = np.ogrid[:60, :60, :60]
    radius = np.sqrt(sum((axis - 29.5) ** 2 for axis in axes))
    anatomy = 255 * np.stack(((radius > 14) & (radius < 26), radius <= 14, radius < 28))
    real = np.zeros((8, 20, 30, 30), dtype=np.float16)
    real[1:4] = np.array([1.6, 0.4, 0.4])[:, None, None, None]
    real[7] = 1
    return Inputs([anatomy.astype(np.uint8)], [real], [np.full(3, 2.0)])


def test_slabs_are_of_brain_tissue_and_the_same_for_the_same_seed(tmp_path: Path) -> None:
    _inputs().save(tmp_path / "inputs.npz")
    tensors = Inputs.load(tmp_path / "inputs.npz").tensors()
    one, again = (list(make_slabs(*tensors, (2, 1), RandomDraws(5))) for _ in range(2))
    assert sum(len(batch.maps) for batch in one) == 3
    for batch, other in zip(one, again, strict=True):
        assert torch.equal(batch.maps, other.maps)
    synthetic = one[0]
    assert synthetic.maps.shape[1:] == (len(DTI), *SLAB)
    diffusivity = synthetic.maps[:, 1:4].float().mean(dim=1)[synthetic.brain]
    assert 0.5 < float(diffusivity.median()) < 1.2
    assert (synthetic.maps.movedim(1, -1)[~synthetic.brain] == 0).all()


def test_real_slabs_are_turned_with_their_tensors() -> None:
    _, real, voxels = _inputs().tensors()
    slabs = real_slabs(real, voxels, 3, RandomDraws(1))
    channels = slabs.maps.float().movedim(1, -1)[slabs.brain][:, 1:]
    values = torch.linalg.eigvalsh(_matrices(channels))
    expected = torch.tensor([0.4, 0.4, 1.6]).expand_as(values)
    torch.testing.assert_close(values, expected, atol=0.02, rtol=0)
    anisotropy = fractional_anisotropy(values.flip(-1))
    assert float(anisotropy.std()) < 0.02
    assert channels[:, 0].std() > 0.1  # but they point elsewhere


def test_turned_tensor_is_that_of_the_turned_directions() -> None:
    rotation = RandomDraws(3).rotations(1)[0]
    channels = torch.randn(6, generator=torch.Generator().manual_seed(0))
    turned = _matrices(rotate_tensor_channels(channels, rotation)[None])[0]
    expected = rotation @ _matrices(channels[None])[0] @ rotation.T
    torch.testing.assert_close(turned, expected)
    torch.testing.assert_close(rotation @ rotation.T, torch.eye(3), atol=1e-5, rtol=0)
    assert float(torch.linalg.det(rotation)) == pytest.approx(1, abs=1e-5)


def _matrices(channels: torch.Tensor) -> torch.Tensor:
    xx, yy, zz, xy, xz, yz = (channels / torch.tensor([1, 1, 1, 2, 2, 2]).sqrt()).unbind(dim=-1)
    rows = ((xx, xy, xz), (xy, yy, yz), (xz, yz, zz))
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def test_a_training_starts_from_an_exported_network(tmp_path: Path) -> None:
    first = start(1e-3, torch.device("cpu"), 0)
    folder = write_bundle(first.average, DTI, tmp_path / "prior", {"steps": 0})
    second = start(1e-3, torch.device("cpu"), 1)
    start_from(second, folder / "model.onnx")
    with np.load(folder / "golden.npz") as golden:
        inputs = [golden[f"input_{name}"] for name in INPUTS]
        mean, _ = torch_network(second.network, "cpu")(*inputs)
        np.testing.assert_allclose(mean, golden["output_mean"], atol=1e-5)
