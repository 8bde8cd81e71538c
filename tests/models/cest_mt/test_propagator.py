import numpy as np
import pytest
import scipy.linalg
import torch

from models.cest_mt import propagator
from models.cest_mt.propagator import apply, compose, exponential, power, product


def _generator(size: int, scale: float, seed: int = 0) -> torch.Tensor:
    """Stable random affine generators, (size, size + 1, 5)."""
    random = np.random.default_rng(seed)
    matrices = random.normal(size=(5, size, size)) * scale
    matrices -= (np.abs(matrices).sum(axis=1).max() + 0.1) * np.eye(size)
    vectors = random.normal(size=(5, size, 1))
    return torch.tensor(np.concatenate([matrices, vectors], axis=2)).movedim(0, -1)


@pytest.mark.parametrize("scale", [1e-3, 0.1, 3.0, 100.0])
def test_exponential_is_that_of_scipy(scale: float) -> None:
    generator = _generator(6, scale)
    affine = exponential(generator)
    for index in range(5):
        square = np.zeros((7, 7))
        square[:6] = generator[..., index]
        expected = scipy.linalg.expm(square)[:6]
        expected[:, :6] -= np.eye(6)
        np.testing.assert_allclose(affine[..., index], expected, rtol=0, atol=1e-13)


def test_single_precision_keeps_slow_decay_beside_fast_rotation() -> None:
    # 1e5 rad of rotation while one component decays by 1e-3: exp(A t) squared in float32
    # would lose the decay altogether.
    generator = torch.zeros(3, 4, 1)
    generator[0, 1], generator[1, 0], generator[2, 2] = -1e5, 1e5, -1e-3
    assert float(exponential(generator)[2, 2]) == pytest.approx(np.expm1(-1e-3), rel=1e-5)


def test_no_time_is_no_change() -> None:
    assert not exponential(torch.zeros(4, 5, 3)).any()


def test_composition_is_evolution_one_after_the_other() -> None:
    first, second = exponential(_generator(6, 1.0, 1)), exponential(_generator(6, 1.0, 2))
    state = torch.arange(30, dtype=torch.float64).reshape(6, 5)
    torch.testing.assert_close(
        apply(compose(second, first), state), apply(second, apply(first, state))
    )


@pytest.mark.parametrize("times", [1, 2, 7, 44])
def test_a_power_is_many_times_the_same(times: int) -> None:
    affine = exponential(_generator(5, 0.3))
    state = expected = torch.ones(5, 5, dtype=torch.float64)
    for _ in range(times):
        expected = apply(affine, expected)
    torch.testing.assert_close(apply(power(affine, times), state), expected)


def test_the_product_for_gpus_is_that_for_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = _generator(6, 3.0)[:, :, None].expand(-1, -1, 2, -1) * 0.7
    expected = exponential(generator)
    monkeypatch.setattr(propagator, "_by_columns", propagator._by_library)
    torch.testing.assert_close(exponential(generator), expected)


def test_half_the_time_twice() -> None:
    generator = _generator(9, 2.0)
    half = exponential(generator / 2)
    torch.testing.assert_close(exponential(generator), compose(half, half))


def test_product_broadcasts_and_has_gradients_in_both_modes() -> None:
    random = torch.Generator().manual_seed(0)
    left = torch.randn(3, 4, 1, 5, dtype=torch.float64, generator=random, requires_grad=True)
    right = torch.randn(4, 2, 6, 5, dtype=torch.float64, generator=random, requires_grad=True)
    added = torch.randn(3, 2, 6, 1, dtype=torch.float64, generator=random, requires_grad=True)
    expected = torch.einsum("ikuv,kjuv->ijuv", left.expand(3, 4, 6, 5), right) + added
    torch.testing.assert_close(product(left, right, added), expected)
    assert torch.autograd.gradcheck(
        product, (left, right, added), check_forward_ad=True, fast_mode=True
    )
    assert torch.autograd.gradgradcheck(product, (left, right, added), fast_mode=True)


def test_what_is_not_finite_is_refused() -> None:
    generator = _generator(3, 1.0)
    generator[0, 0, 2] = torch.nan
    with pytest.raises(ValueError, match="not finite"):
        exponential(generator)
