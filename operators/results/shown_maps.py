"""Which maps the summary page shows, and in which voxels."""

from __future__ import annotations

from collections.abc import Sequence

import highdicom as hd

from operators.results.display_plane import analysed_voxels
from operators.vocabulary.quantity import QuantityMap

#: More maps make pictures too small to be read: then maps of standard deviations are left to the
#: objects.
MOST_MAPS = 12
_DEVIATION = "_sd"


def shown_maps(maps: Sequence[QuantityMap]) -> tuple[QuantityMap, ...]:
    """All maps, or those without the standard deviations of others where they are too many."""
    names = {one.quantity.name for one in maps}
    if len(maps) <= MOST_MAPS:
        return tuple(maps)
    return tuple(
        one
        for one in maps
        if not one.quantity.name.endswith(_DEVIATION)
        or one.quantity.name.removesuffix(_DEVIATION) not in names
    )


def computed_voxels(quantity_map: QuantityMap, maps: Sequence[QuantityMap]) -> hd.Volume:
    """Voxels in which a map was computed: bool (slices, rows, columns).

    A map that has one of its standard deviation was computed where it, or any standard deviation,
    differs from its background: a value may be 0 (a fraction), and its SD with it. Shares and
    standard deviations are 0 nowhere. Any other map counts where any map of the result does.
    """
    name = quantity_map.quantity.name
    deviations = [one for one in maps if one.quantity.name.endswith(_DEVIATION)]
    if name.endswith((_DEVIATION, "_share")):
        return analysed_voxels((quantity_map,))
    if any(one.quantity.name == f"{name}{_DEVIATION}" for one in deviations):
        return analysed_voxels((quantity_map, *deviations))
    return analysed_voxels(maps)
