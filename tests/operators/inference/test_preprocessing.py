"""Denoising, unringing and motion correction before the fit."""

from __future__ import annotations

import highdicom as hd
import numpy as np
import pytest
from made_brains import made_brain, signals_of, table_of
from scipy import ndimage
from scipy.spatial.transform import Rotation

from operators.inference.diffusion import analyse_diffusion
from operators.inference.preprocessing import denoised, motion_corrected, preprocess, unrung
from operators.inference.prior_session import PriorNetwork
from operators.inference.settings import DiffusionSettings, PreprocessingSettings, PriorSettings
from operators.vocabulary.acquisition import GradientTable
from operators.vocabulary.refusal import Refusal


def geometry_of(shape: tuple[int, ...], spacing: tuple[float, float, float]) -> hd.VolumeGeometry:
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2], affine[3, 3] = *spacing, 1.0
    affine[:3, 3] = 15.0, -30.0, 40.0
    return hd.VolumeGeometry(
        affine, shape, "PATIENT", frame_of_reference_uid="1.2.826.0.1.3680043.8.498.1"
    )


def test_nothing_is_done_unless_asked_for():
    brain, table = made_brain(), table_of(6)
    signals = signals_of(brain, table, 20)
    geometry = geometry_of(signals.shape[:3], (4.0, 2.0, 2.0))
    same, unchanged, findings = preprocess(
        signals, table, brain.inside, geometry, PreprocessingSettings()
    )
    assert same is signals
    assert unchanged is table
    assert findings == []


def test_denoising_removes_noise_and_leaves_the_rest():
    brain, table = made_brain(), table_of(20)
    clean = signals_of(brain, table, 1e-3)
    noisy = signals_of(brain, table, 30)
    found, finding = denoised(noisy, brain.inside)
    inside = ndimage.binary_erosion(brain.inside, iterations=2)
    before, after = (np.sqrt(np.mean((one - clean)[inside] ** 2)) for one in (noisy, found))
    assert after < 0.7 * before
    assert np.array_equal(found[~brain.inside], noisy[~brain.inside])
    assert finding.code == "denoised"


def test_few_volumes_cannot_be_denoised():
    brain, table = made_brain(), table_of(6)
    with pytest.raises(Refusal, match="7 volumes"):
        denoised(signals_of(brain, table, 30), brain.inside)


def test_unringing_takes_away_what_truncated_k_space_adds():
    fine = np.zeros((256, 256))
    fine[64:192, 80:176] = 1000
    k_space = np.fft.fftshift(np.fft.fft2(fine))[96:160, 96:160] / 16
    ringing = np.abs(np.fft.ifft2(np.fft.ifftshift(k_space)))
    signals = np.repeat(ringing[None, :, :, None], 2, axis=3).astype(np.float32)
    found, finding = unrung(signals)
    flat = np.s_[0, 24:40, 28:36, 0]
    assert np.abs(found[flat] - 1000).max() < 0.5 * np.abs(signals[flat] - 1000).max()
    assert finding.code == "unrung"


@pytest.mark.slow
def test_a_turned_head_is_turned_back_and_its_directions_with_it():
    """In the frame of the head, the directions that were played are turned the other way."""
    shape, spacing = (20, 36, 34), (4.0, 4.0, 4.0)
    geometry = geometry_of(shape, spacing)
    positions = geometry.map_indices_to_reference(np.indices(shape).reshape(3, -1).T)
    middle = positions.mean(axis=0)
    table = table_of(6)
    turn = Rotation.from_euler("zx", [8, 4], degrees=True)
    shift = np.array([3.0, -2.0, 1.0])

    generator = np.random.default_rng(0)
    waves = generator.normal(0, 0.12, (20, 3))  # rad/mm
    phases = generator.uniform(0, 2 * np.pi, 20)

    def head(places: np.ndarray) -> np.ndarray:
        x, y, z = places.T
        body = (x / 55) ** 2 + (y / 62) ** 2 + (z / 34) ** 2 < 1
        return np.where(body, 800 + 60 * np.cos(places @ waves.T + phases).sum(axis=1), 0).reshape(
            shape
        )

    still = ndimage.gaussian_filter(head(positions - middle), 0.7)
    moved = ndimage.gaussian_filter(head(turn.inv().apply(positions - middle - shift)), 0.7)
    volumes = [still] + [0.6 * still] * 5 + [0.6 * moved]
    noise = generator.normal(0, 5, (*shape, 7))
    signals = np.abs(np.stack(volumes, axis=-1) + noise).astype(np.float32)
    corrected, turned, finding = motion_corrected(signals, table, geometry)
    inside = still > 600
    before, after = (
        np.abs(one[..., 6] - 0.6 * still)[inside].mean() for one in (signals, corrected)
    )
    assert after < 0.5 * before  # pixels are interpolated
    expected = turn.inv().apply(table.directions[6])
    assert np.degrees(np.arccos(abs(turned.directions[6] @ expected))) < 1.0
    still_angles = np.abs(np.sum(turned.directions[1:6] * table.directions[1:6], axis=1))
    assert np.degrees(np.arccos(np.clip(still_angles, 0, 1))).max() < 0.5
    assert "largest turn 8.9° (volume 7), largest shift 3.7 mm (volume 7)" in finding.message


def test_motion_correction_needs_a_volume_to_register_to():
    table = table_of(8)
    weighted = GradientTable(table.b_values[1:], table.directions[1:])
    signals = signals_of(made_brain(), weighted, 10)
    with pytest.raises(Refusal) as refused:
        motion_corrected(signals, weighted, geometry_of(signals.shape[:3], (4.0, 2.0, 2.0)))
    assert refused.value.rule == "no-volume-to-register-to"


def test_what_was_done_is_in_the_configuration_and_the_findings(acquisition_of):
    brain, table = made_brain(), table_of(12)
    settings = DiffusionSettings(
        prior=PriorSettings(weight=0), preprocessing=PreprocessingSettings(denoise=True)
    )
    result = analyse_diffusion(
        acquisition_of(signals_of(brain, table, 20), table), settings, PriorNetwork({})
    ).result
    assert result.algorithm.configuration["denoise"] == "DIPY"
    assert "unring" not in result.algorithm.configuration
    assert "denoised" in {one.code for one in result.findings}
