from __future__ import annotations

import highdicom as hd
import numpy as np
import pytest
from bundle_phantom import FRAME, Bundle, half_circle
from pydicom.dataset import Dataset

from operators.inference.connectivity import connect
from operators.inference.settings import TractSettings
from operators.inference.tractography import track
from operators.vocabulary.acquisition import SourceImage, SourceSeries
from operators.vocabulary.tracts import Connectivity, TrackSet

NAMES = ("left", "front", "right", "elsewhere")


def source() -> SourceSeries:
    header = Dataset()
    header.SeriesInstanceUID = "1.2.3"
    return SourceSeries(header, (SourceImage(None, "1", "1.2.4"),))  # type: ignore[arg-type]


def tracked(bundle: Bundle) -> TrackSet:
    tracks, _ = track(
        bundle.principal, bundle.anisotropy, bundle.inside, bundle.geometry, TractSettings()
    )
    assert tracks is not None
    return tracks


def parcellation(geometry: hd.VolumeGeometry) -> np.ndarray:
    """Feet of the bundle left (+x) and right (-x), its front, and a corner that it avoids."""
    places = geometry.map_indices_to_reference(
        np.indices(geometry.spatial_shape).reshape(3, -1).T
    ).reshape(*geometry.spatial_shape, 3)
    labels = np.zeros(geometry.spatial_shape, np.int32)
    behind = places[..., 1] > -2
    labels[behind & (places[..., 0] > 10)] = 1
    labels[behind & (places[..., 0] < -10)] = 3
    labels[(places[..., 1] < -20) & (np.abs(places[..., 0]) < 3)] = 2
    labels[behind & (np.abs(places[..., 0]) < 6)] = 4
    return labels


def connected(bundle: Bundle, radius: float = 4.0) -> Connectivity:
    labels = parcellation(bundle.geometry)
    return connect(tracked(bundle), labels, NAMES, source(), radius)


def test_the_feet_of_a_bundle_are_connected() -> None:
    found = connected(half_circle())
    left, front, right, elsewhere = range(4)
    assert found.tracks[left, right] > 100
    assert found.tracks[elsewhere].sum() == 0
    assert found.tracks[front, front] == 0
    np.testing.assert_array_equal(found.tracks, found.tracks.T)
    assert found.length[left, right] == pytest.approx(25 * np.pi, rel=0.15)
    assert 0.4 < found.anisotropy[left, right] < 0.7
    assert np.isnan(found.length[left, elsewhere])
    assert found.pairs()[0] == (left, right)


def test_a_cut_bundle_does_not_connect_its_feet() -> None:
    found = connected(half_circle(gap=8.0))
    assert found.tracks[0, 2] == 0
    assert found.tracks[0, 1] > 0
    assert found.tracks[1, 2] > 0


def test_an_end_out_of_reach_belongs_to_nothing() -> None:
    tracks = tracked(half_circle())
    far = np.zeros(tracks.geometry.spatial_shape, np.int32)
    far[:, 0, 0] = 1
    assert connect(tracks, far, ("far",), source()).tracks.sum() == 0
    empty = np.zeros_like(far)
    assert connect(tracks, empty, ("none",), source()).tracks.sum() == 0


def test_without_a_radius_the_counts_are_those_of_dipy() -> None:
    from dipy.tracking.utils import connectivity_matrix

    tracks = tracked(half_circle())
    labels = parcellation(tracks.geometry)
    theirs = connectivity_matrix(tracks.tracks(), tracks.geometry.affine, labels, symmetric=True)[
        1:, 1:
    ]
    ours = connect(tracks, labels, NAMES, source(), radius=0.0).tracks
    assert ours.sum() > 50
    np.testing.assert_array_equal(ours[: len(theirs), : len(theirs)], theirs)


def test_another_grid_is_an_error() -> None:
    tracks = tracked(half_circle())
    with pytest.raises(ValueError, match="labels are"):
        connect(tracks, np.zeros((2, 2, 2), int), NAMES, source())
    assert tracks.geometry.frame_of_reference_uid == FRAME
