"""The demo's study for super-resolution holds what was put in, coarse and sharp."""

import numpy as np
import pytest

from app.config import DEFAULT_FILE, Settings
from app.demo.brain_phantom import brain_phantom
from app.demo.coarse_maps import FACTORS, true_maps, write_coarse_study
from app.settings_file import read_settings
from operators.inference.map_set import choose_maps
from operators.ingest.acquire import acquire
from operators.vocabulary.acquisition import SeriesKind


@pytest.fixture(scope="module")
def acquired(tmp_path_factory):
    folder = tmp_path_factory.mktemp("coarse")
    assert write_coarse_study(folder) == 5 * 24
    return acquire(folder, read_settings(Settings, DEFAULT_FILE).ingest)


def test_maps_and_images_are_recognised(acquired):
    assert acquired.refusals == ()
    kinds = [one.kind for one in acquired.acquisitions]
    assert kinds == [SeriesKind.QUANTITY_MAP] * 3 + [SeriesKind.WEIGHTED_IMAGE] * 2


def test_coarse_maps_have_the_means_of_the_true_ones_in_their_units(acquired):
    read = choose_maps(acquired.acquisitions).read()
    for measured, truth in zip(np.asarray(read), true_maps(brain_phantom()), strict=True):
        assert measured.mean() == pytest.approx(truth.mean(), rel=0.01)


def test_both_grids_lie_in_one_place(acquired):
    coarse, *_, sharp = (one.geometry for one in acquired.acquisitions)
    spacing = np.divide(coarse.spacing, sharp.spacing)
    np.testing.assert_allclose(spacing, FACTORS, rtol=1e-5)
    # Sample n/2, the centre of the Fourier transform, stays in its place.
    places = [one.affine @ [*(n // 2 for n in one.spatial_shape), 1] for one in (coarse, sharp)]
    np.testing.assert_allclose(*places, atol=1e-3)
