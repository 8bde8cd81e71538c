from __future__ import annotations

import numpy as np
from made_results import made_geometry

from operators.results.shown_maps import MOST_MAPS, computed_voxels, shown_maps
from operators.vocabulary.quantity import QUANTITIES, QuantityMap

GEOMETRY = made_geometry("axial")
VALUES = ("b0", "fractional_anisotropy", "mean_diffusivity", "neurite_density", "mean_kurtosis")
TENSOR = ("axial_diffusivity", "radial_diffusivity", "prior_data_share")


def made(name: str, values: np.ndarray | None = None) -> QuantityMap:
    array = np.ones(GEOMETRY.spatial_shape) if values is None else values
    return QuantityMap(QUANTITIES[name], GEOMETRY.with_array(array.astype(np.float32)))


def test_few_maps_are_all_shown() -> None:
    maps = [made(name) for name in (*VALUES, *(f"{name}_sd" for name in VALUES))]
    assert len(maps) <= MOST_MAPS
    assert shown_maps(maps) == tuple(maps)


def test_of_many_maps_standard_deviations_are_left_to_the_objects() -> None:
    names = (*VALUES, *TENSOR, *(f"{name}_sd" for name in VALUES))
    maps = [made(name) for name in names]
    assert len(maps) > MOST_MAPS
    assert [one.quantity.name for one in shown_maps(maps)] == [*VALUES, *TENSOR]


def test_a_fraction_of_zero_was_computed_where_others_were() -> None:
    inside = np.zeros(GEOMETRY.spatial_shape)
    inside[2:5, 3:9, 2:8] = 1
    head = np.ones(GEOMETRY.spatial_shape)
    maps = [
        made("fractional_anisotropy", head),
        made("fractional_anisotropy_sd", inside),
        made("free_water_fraction", 0 * inside),
        made("free_water_fraction_sd", 0 * inside),
        made("prior_data_share", inside),
        made("diffusion_residual", head),
    ]
    found = {one.quantity.name: computed_voxels(one, maps).array for one in maps}
    assert np.array_equal(found["free_water_fraction"], inside > 0)
    assert np.array_equal(found["prior_data_share"], inside > 0)
    assert np.array_equal(found["fractional_anisotropy_sd"], inside > 0)
    assert found["fractional_anisotropy"].all()
    assert found["diffusion_residual"].all()
