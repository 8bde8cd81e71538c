from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from bundle_phantom import INSIDE, Bundle, half_circle
from scipy.spatial.transform import Rotation

from operators.inference.settings import TractSettings
from operators.inference.tractography import track
from operators.vocabulary.tracts import TrackSet

SETTINGS = TractSettings()
TURN = Rotation.from_euler("xyz", [20, -33, 50], degrees=True).as_matrix()


def tracked(bundle: Bundle, settings: TractSettings = SETTINGS) -> TrackSet:
    tracks, _ = track(bundle.principal, bundle.anisotropy, bundle.inside, bundle.geometry, settings)
    assert tracks is not None
    return tracks


@pytest.mark.parametrize("spacing", [(2.0, 2.0, 2.0), (3.0, 1.5, 2.0)])
def test_tracks_follow_a_curved_bundle_to_a_voxel(spacing: tuple[float, float, float]) -> None:
    tracks = tracked(half_circle(spacing=spacing))
    assert len(tracks) > 100
    for points in tracks.tracks():
        radius = np.hypot(points[:, 0], points[:, 1])
        assert np.ptp(radius) < max(spacing)
        assert np.ptp(points[:, 2]) < max(spacing)
    assert np.median(tracks.lengths()) == pytest.approx(25 * np.pi, rel=0.2)


def test_tracks_turn_with_the_patient() -> None:
    level, turned = tracked(half_circle()), tracked(half_circle(TURN))
    np.testing.assert_array_equal(level.offsets, turned.offsets)
    np.testing.assert_allclose(level.points @ TURN.T, turned.points, atol=0.05)


def test_the_order_and_sense_of_the_axes_do_not_matter() -> None:
    bundle = half_circle()
    flipped = Bundle(
        bundle.principal[::-1, :, ::-1].transpose(0, 2, 1, 3),
        bundle.anisotropy[::-1, :, ::-1].transpose(0, 2, 1),
        bundle.geometry.flip_spatial([0, 2]).permute_spatial_axes([0, 2, 1]),
        bundle.radius,
    )
    points = tracked(flipped).points
    assert np.abs(np.hypot(points[:, 0], points[:, 1]) - bundle.radius).max() < 8
    assert points[:, 1].max() < 8


def test_the_sense_of_a_direction_means_nothing() -> None:
    bundle = half_circle()
    other = replace(bundle, principal=-bundle.principal)
    # The way from a seed is the same in both senses, only the order of its points is not.
    one, two = tracked(bundle).ends(), tracked(other).ends()
    assert len(one) == len(two)
    np.testing.assert_allclose(one.sum(axis=1), two.sum(axis=1), atol=0.1)


def test_a_cut_bundle_is_not_bridged() -> None:
    def crossing(bundle: Bundle) -> float:
        ends = tracked(bundle).ends()[..., 0]
        return float((ends[:, 0] * ends[:, 1] < 0).mean())

    assert crossing(half_circle()) > 0.9
    assert crossing(half_circle(gap=8.0)) == 0


def test_tracks_stay_within_their_limits() -> None:
    settings = TractSettings(shortest=30, longest=60, step=0.5)
    tracks = tracked(half_circle(), settings)
    lengths = tracks.lengths()
    assert lengths.min() >= 30 - settings.step
    assert lengths.max() <= 60 + settings.step
    steps = np.linalg.norm(np.diff(tracks.tracks()[0], axis=0), axis=1)
    np.testing.assert_allclose(steps, 0.5, rtol=1e-3)
    # The last step may lead out of the bundle, to where interpolated FA is below the threshold.
    assert tracks.anisotropy.min() > 0.1
    assert (tracks.anisotropy >= settings.stop_anisotropy).mean() > 0.95
    assert tracks.anisotropy.max() <= INSIDE + 1e-6


def test_the_mask_is_not_left() -> None:
    bundle = half_circle()
    right = np.zeros(bundle.anisotropy.shape, bool)
    right[..., : right.shape[2] // 2] = True
    tracks, _ = track(bundle.principal, bundle.anisotropy, right, bundle.geometry, SETTINGS)
    assert tracks is not None
    assert tracks.points[:, 0].max() < 2.0


def test_the_same_field_gives_the_same_tracks() -> None:
    one, two = tracked(half_circle()), tracked(half_circle())
    np.testing.assert_array_equal(one.points, two.points)
    np.testing.assert_array_equal(one.offsets, two.offsets)


def test_a_limit_of_seeds_is_kept_and_said() -> None:
    bundle = half_circle()
    tracks, findings = track(
        bundle.principal,
        bundle.anisotropy,
        bundle.inside,
        bundle.geometry,
        TractSettings(most_seeds=50),
    )
    assert tracks is not None
    assert len(tracks) <= 50
    (limited,) = [one for one in findings if one.code == "tracts-limited"]
    assert "50 of" in limited.message


@pytest.mark.parametrize("cause", ["isotropic", "single slice", "too short"])
def test_no_tracks_are_a_finding(cause: str) -> None:
    bundle, settings = half_circle(), SETTINGS
    if cause == "isotropic":
        bundle = replace(bundle, anisotropy=np.full_like(bundle.anisotropy, 0.1))
    elif cause == "single slice":
        bundle = Bundle(
            bundle.principal[5:6], bundle.anisotropy[5:6], bundle.geometry[5:6], bundle.radius
        )
    else:
        settings = TractSettings(shortest=150)
    tracks, findings = track(
        bundle.principal, bundle.anisotropy, bundle.inside, bundle.geometry, settings
    )
    assert tracks is None
    assert [one.code for one in findings] in (["no-tracts"], ["too-few-slices-for-tracts"])


def test_statistics_of_a_track_set() -> None:
    tracks = tracked(half_circle())
    for index in (0, len(tracks) - 1):
        points = tracks.tracks()[index]
        walked = np.linalg.norm(np.diff(points, axis=0), axis=1).sum()
        assert tracks.lengths()[index] == pytest.approx(walked, rel=1e-4)
        part = slice(*tracks.offsets[index : index + 2])
        assert tracks.mean_anisotropy()[index] == pytest.approx(tracks.anisotropy[part].mean())
        np.testing.assert_array_equal(tracks.ends()[index], points[[0, -1]])
