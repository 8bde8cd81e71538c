"""Which maps are taken together, and from which form."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from pydicom.uid import MRImageStorage, ParametricMapStorage

from operators.inference.map_check import check_maps, noise_share
from operators.inference.map_set import (
    ALGORITHM,
    choose_maps,
    lacking_maps,
    map_sets,
    maps_for_images,
)
from operators.vocabulary.acquisition import SourceImage
from operators.vocabulary.refusal import Refusal

VALUES = {"proton_density": 0.7, "t1": 800.0, "t2": 80.0, "r1": 1.25, "r2": 12.5}
SHAPE = (4, 6, 5)


@pytest.fixture
def made(map_of):
    def make(*names, first=1, **header):
        found = []
        for number, name in enumerate(names, start=first):
            one = map_of(np.full(SHAPE, VALUES[name], np.float32), name, number=number)
            for keyword, value in header.items():
                setattr(one.source.header, keyword, value)
            found.append(one)
        return found

    return make


def test_rates_stand_for_times(made):
    found = choose_maps(made("proton_density", "r1", "r2"))
    np.testing.assert_allclose(found.read()[:, 0, 0, 0], [0.7, 800, 80], rtol=1e-5)


def test_times_go_before_rates(made):
    found = choose_maps(made("r1", "proton_density", "t1", "t2"))
    assert found.members["t1"].source.series_number == 3


def test_what_is_missing_is_named(made):
    assert lacking_maps(made("t1", "r2")) == ["PD"]
    assert lacking_maps([]) == ["PD", "T1", "T2"]


def test_the_exact_form_of_a_map_is_taken(made):
    maps = made("proton_density", "t1", "t2")
    copy = made("t1", first=9)[0]

    def stored(one, sop_class):
        image = SourceImage(one.source.series_instance_uid, sop_class, "1.2.3")
        return replace(one, source=replace(one.source, images=(image,)))

    maps[1] = stored(maps[1], MRImageStorage)
    exact = stored(copy, ParametricMapStorage)
    assert choose_maps([*maps, exact]).members["t1"] is exact
    with pytest.raises(Refusal) as refused:
        choose_maps([*maps, stored(copy, MRImageStorage)])
    assert refused.value.rule == "several-maps"


def test_maps_of_two_studies_are_not_mixed(made):
    one = made("proton_density", "t1", StudyInstanceUID="1.2")
    other = made("t2", first=3, StudyInstanceUID="1.3")
    with pytest.raises(Refusal) as refused:
        choose_maps([*one, *other])
    assert refused.value.rule == "maps-differ-in-grid"


def test_results_are_no_input_but_serve_images_first(made):
    measured = made("proton_density", "t1", "t2")
    results = made("proton_density", "t1", "t2", first=11, ManufacturerModelName=ALGORITHM)
    both = [*measured, *results]
    assert len(map_sets(both)) == 2
    assert choose_maps(both).numbers == "1, 2, 3"
    assert maps_for_images(both).numbers == "11, 12, 13"
    assert maps_for_images(measured).numbers == "1, 2, 3"


def test_two_measured_sets_are_refused(made):
    first = made("proton_density", "t1", "t2", StudyInstanceUID="1.2")
    second = made("proton_density", "t1", "t2", first=4, StudyInstanceUID="1.3")
    with pytest.raises(Refusal) as refused:
        choose_maps([*first, *second])
    assert refused.value.rule == "several-map-sets"


def test_values_that_are_not_finite_are_refused():
    maps = np.ones((3, *SHAPE), np.float32)
    maps[1, 0, 0, 0] = np.nan
    with pytest.raises(Refusal) as refused:
        check_maps(maps, "1, 2, 3")
    assert refused.value.rule == "map-not-finite"


def test_few_impossible_values_are_flagged():
    maps = np.array([0.7, 900, 80], np.float32)[:, None, None, None] * np.ones((1, 8, 10, 10))
    assert check_maps(maps, "1, 2, 3") == []
    maps[1, 0, 0, :4] = 20000
    (finding,) = check_maps(maps, "1, 2, 3")
    assert finding.code == "values-outside-physics"


def test_noise_is_found_in_a_flat_image():
    random = np.random.default_rng(3)
    image = 100 + random.normal(0, 2, (6, 80, 80))
    assert noise_share(image, np.ones(image.shape, dtype=bool)) == pytest.approx(0.02, rel=0.1)
