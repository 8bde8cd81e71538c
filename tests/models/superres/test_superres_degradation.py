"""Truncation of k-space: against NumPy's FFT, and its algebra."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.superres.degradation import (
    KSpaceTruncation,
    Window,
    low_resolution_shape,
    truncation_matrix,
)


def _by_fft(image: np.ndarray, low_shape: tuple[int, ...]) -> np.ndarray:
    spectrum = np.fft.fftshift(np.fft.fftn(np.fft.ifftshift(image)))
    kept = tuple(
        slice(n // 2 - m // 2, n // 2 - m // 2 + m)
        for n, m in zip(image.shape, low_shape, strict=True)
    )
    low = np.fft.fftshift(np.fft.ifftn(np.fft.ifftshift(spectrum[kept])))
    return low.real * np.prod(low_shape) / image.size


@pytest.mark.parametrize(
    ("shape", "low_shape"),
    [
        ((24, 30), (9, 11)),
        ((25, 31), (9, 31)),
        ((12, 18, 15), (5, 7, 15)),
        ((36,), (12,)),
        ((37,), (14,)),
    ],
)
def test_agrees_with_a_centred_fft(shape: tuple[int, ...], low_shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(1).standard_normal(shape)
    truncation = KSpaceTruncation(shape, low_shape, torch.float64)
    ours = truncation(torch.from_numpy(image)).numpy()
    np.testing.assert_allclose(ours, _by_fft(image, low_shape), atol=1e-12)


@pytest.mark.parametrize(
    ("shape", "factors"),
    [((32, 45), (3.0, 1.5)), ((20, 24, 27), (2.0, 3.7, 1.0)), ((64, 64), (4.0, 4.0))],
)
def test_adjoint_is_exact(shape: tuple[int, ...], factors: tuple[float, ...]) -> None:
    truncation = KSpaceTruncation(shape, low_resolution_shape(shape, factors), torch.float64)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn((2, 3, *shape), generator=generator, dtype=torch.float64)
    y = torch.randn((2, 3, *truncation.low_shape), generator=generator, dtype=torch.float64)
    left, right = (truncation(x) * y).sum(), (x * truncation.adjoint(y)).sum()
    assert float(left) == pytest.approx(float(right), rel=1e-12)


def test_constants_stay_and_interpolation_is_consistent() -> None:
    truncation = KSpaceTruncation((40, 33), (13, 11), torch.float64)
    torch.testing.assert_close(truncation(torch.ones(40, 33).double()), torch.ones(13, 11).double())
    low = torch.randn(13, 11, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(truncation(truncation.interpolate(low)), low)


def test_a_band_limited_image_survives() -> None:
    samples = torch.arange(48, dtype=torch.float64) - 24
    wave = torch.cos(2 * torch.pi * 3 * samples / 48)
    truncation = KSpaceTruncation((48,), (15,), torch.float64)
    torch.testing.assert_close(truncation.interpolate(truncation(wave)), wave)


def test_factor_one_changes_nothing() -> None:
    image = torch.randn(5, 7)
    torch.testing.assert_close(KSpaceTruncation((5, 7), (5, 7))(image), image)


def test_impossible_grids_are_named() -> None:
    with pytest.raises(ValueError, match="cannot keep 9 of 8"):
        truncation_matrix(8, 9)
    with pytest.raises(ValueError, match="2 and 1 axes"):
        KSpaceTruncation((8, 8), (4,))
    with pytest.raises(ValueError, match="expected"):
        KSpaceTruncation((8, 8), (4, 4))(torch.zeros(8, 9))


def test_a_window_holds_what_is_not_zero() -> None:
    window = Window((30, 24), (6, 0), (17, 24))
    image = torch.zeros(30, 24, dtype=torch.float64)
    image[window.slices] = torch.randn(17, 24, generator=torch.Generator().manual_seed(0)).double()
    part = KSpaceTruncation(window, (11, 24), torch.float64)
    complete = KSpaceTruncation((30, 24), (11, 24), torch.float64)
    torch.testing.assert_close(part(image[window.slices]), complete(image))
    low = torch.randn(11, 24, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    torch.testing.assert_close(part.adjoint(low), complete.adjoint(low)[window.slices])
    assert part.factors == complete.factors
