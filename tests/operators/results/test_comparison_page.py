"""The page that shows measured and finer maps side by side."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import datetime

import highdicom as hd
import numpy as np
import pytest
from made_results import made_result
from PIL import Image

from operators.results.comparison_page import comparison_page, nearest_on
from operators.results.series_plan import ResultPlan, plan_results
from operators.vocabulary.quantity import QUANTITIES, QuantityMap
from operators.vocabulary.synthetic_image import SyntheticImage
from operators.vocabulary.tissue import TissueValue


def plan_of(**changes: object) -> ResultPlan:
    made = made_result("axial", names=("proton_density", "t1", "t2", "disagreement"))
    coarse = tuple(QuantityMap(one.quantity, one.volume[:, ::2, ::2]) for one in made.maps[:3])
    volume = made.maps[0].volume
    image = SyntheticImage(
        "flair", "T2-FLAIR", "FLAIR", "FLAIR", ("SE", "IR"), 9000, 100, 2500, None, volume
    )
    values = (
        TissueValue("White matter", "t1", 830, 600, 1100),
        TissueValue("White matter", "t2", 120, 60, 90),
    )
    result = replace(made, measured_maps=coarse, synthetic_images=(image,), tissue_values=values)
    return plan_results([replace(result, **changes)], datetime(2026, 1, 2))[0]


def test_the_page_is_drawn_in_both_forms() -> None:
    page = comparison_page(plan_of())
    with Image.open(io.BytesIO(page.png)) as picture:
        assert picture.size == (2338, 1654)
        assert len(np.unique(np.asarray(picture.convert("L")))) > 50
    assert page.pdf.startswith(b"%PDF")
    for name in (b"Anna", b"QM-0001"):
        assert name not in page.pdf


def test_a_result_with_rates_and_without_tissues_fits_too() -> None:
    plan = plan_of(tissue_values=(), synthetic_images=())
    extra = [
        QuantityMap(QUANTITIES[name], plan.result.maps[0].volume)
        for name in ("r1", "r2", "t1w_residual", "t2w_residual", "map_consistency")
    ]
    full = plan_of(tissue_values=(), maps=(*plan.result.maps, *extra))
    assert comparison_page(full).png


def test_without_measured_maps_there_is_nothing_to_compare() -> None:
    with pytest.raises(ValueError, match="measured"):
        comparison_page(plan_of(measured_maps=()))


def test_each_voxel_is_shown_as_the_coarse_one_that_holds_it() -> None:
    affine = np.diag([3.0, 2.0, 2.0, 1.0])
    coarse = hd.Volume(np.arange(12.0).reshape(1, 3, 4), affine, "PATIENT")
    finer = affine.copy()
    finer[1, 1] = finer[2, 2] = 1.0
    finer[1, 3] = finer[2, 3] = -0.5
    geometry = hd.VolumeGeometry(finer, (1, 6, 8), "PATIENT")
    expected = coarse.array.repeat(2, 1).repeat(2, 2)
    np.testing.assert_array_equal(nearest_on(coarse, geometry).array, expected)
