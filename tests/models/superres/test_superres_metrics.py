"""HFEN and SSIM: against scikit-image's definition written out, and their limits."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import correlate

from models.superres.metrics import hfen, ssim

RANDOM = np.random.default_rng(0)
IMAGE = RANDOM.standard_normal((40, 36)).cumsum(0).cumsum(1) / 10
OTHER = IMAGE + RANDOM.standard_normal(IMAGE.shape)
MASK = np.zeros(IMAGE.shape, dtype=bool)
MASK[8:-8, 8:-8] = True


def test_equal_images() -> None:
    assert hfen(IMAGE, IMAGE, MASK) == 0
    assert ssim(IMAGE, IMAGE, MASK, 10.0) == pytest.approx(1)


def test_hfen_with_the_kernel_written_out() -> None:
    y, x = np.mgrid[-7:8, -7:8] / 1.5
    gauss = np.exp(-(x**2 + y**2) / 2)
    kernel = (x**2 + y**2 - 2) * gauss
    kernel -= kernel.mean()
    edges, others = correlate(IMAGE, kernel), correlate(OTHER, kernel)
    expected = np.linalg.norm((others - edges)[MASK]) / np.linalg.norm(edges[MASK])
    assert hfen(OTHER, IMAGE, MASK) == pytest.approx(expected, rel=0.02)


def test_hfen_counts_lost_detail_as_one_and_scales_with_the_error() -> None:
    once, twice = hfen(OTHER, IMAGE, MASK), hfen(2 * OTHER - IMAGE, IMAGE, MASK)
    assert twice == pytest.approx(2 * once)
    assert hfen(np.zeros_like(IMAGE), IMAGE, MASK) == pytest.approx(1)


def test_ssim_with_the_window_written_out() -> None:
    y, x = np.mgrid[-5:6, -5:6]
    window = np.exp(-(x**2 + y**2) / (2 * 1.5**2))
    window /= window.sum()
    mx, my = correlate(OTHER, window), correlate(IMAGE, window)
    vx, vy = correlate(OTHER**2, window) - mx**2, correlate(IMAGE**2, window) - my**2
    cov = correlate(OTHER * IMAGE, window) - mx * my
    c1, c2 = (0.01 * 20) ** 2, (0.03 * 20) ** 2
    local = (2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
    assert ssim(OTHER, IMAGE, MASK, 20.0) == pytest.approx(local[MASK].mean(), rel=1e-9)


def test_slices_are_averaged_and_empty_ones_skipped() -> None:
    stack = np.stack([OTHER, IMAGE, OTHER])
    truth = np.stack([IMAGE, IMAGE, IMAGE])
    mask = np.stack([MASK, MASK, np.zeros_like(MASK)])
    assert hfen(stack, truth, mask) == pytest.approx(hfen(OTHER, IMAGE, MASK) / 2)
