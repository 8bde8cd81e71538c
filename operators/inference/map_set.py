"""Which maps of a study belong together: PD, T1 and T2 of one grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import highdicom as hd
import numpy as np
from pydicom.uid import ParametricMapStorage

from operators.inference.resample import same_frame_of_reference, same_grid
from operators.vocabulary.acquisition import Acquisition, MapProtocol
from operators.vocabulary.quantity import QUANTITIES
from operators.vocabulary.refusal import Refusal
from operators.vocabulary.run import AcquiredStudy

#: Name by which results of this pipeline are known again.
ALGORITHM = "QuantMAP superres"
#: The maps that are sharpened together, each with the rate that can stand for it.
WANTED = {"proton_density": None, "t1": "r1", "t2": "r2"}


@dataclass(frozen=True)
class MapSet:
    """Maps of PD, T1 and T2, or of R1 and R2 in their place, on one grid.

    Attributes:
        members: "proton_density", "t1" and "t2" -> the series that gives it.
    """

    members: dict[str, Acquisition]

    @property
    def geometry(self) -> hd.VolumeGeometry:
        """The grid of all of them."""
        return self.members["t1"].geometry

    @property
    def super_resolved(self) -> bool:
        """Whether this pipeline made them."""
        return _is_result(self.members["t1"])

    @property
    def numbers(self) -> str:
        """Series numbers, for people."""
        return ", ".join(str(one.source.series_number) for one in self.members.values())

    def read(self) -> np.ndarray:
        """PD, T1 in ms and T2 in ms as they are in the files, rates turned into times.

        Returns:
            (3, slices, rows, columns), float32; 0 where a rate is not positive.
        """
        values = []
        for name, acquisition in self.members.items():
            stored = acquisition.volume().array[..., 0]
            if quantity_name(acquisition) != name:
                with np.errstate(divide="ignore", invalid="ignore"):
                    stored = np.where(stored > 0, 1000.0 / stored, 0.0)
            values.append(stored.astype(np.float32))
        return np.stack(values)


def quantity_name(acquisition: Acquisition) -> str:
    """Name of the quantity of a map, or "" of any other series."""
    protocol = acquisition.protocol
    return protocol.quantity.name if isinstance(protocol, MapProtocol) else ""


def lacking_maps(acquisitions: Sequence[Acquisition]) -> list[str]:
    """Labels of the maps that a set needs and the study does not hold at all."""
    present = {quantity_name(one) for one in acquisitions}
    return [
        QUANTITIES[name].label
        for name, rate in WANTED.items()
        if name not in present and rate not in present
    ]


def holds_proton_density(study: AcquiredStudy) -> bool:
    """Whether a study holds a PD map, which only scans of PD, T1 and T2 together give."""
    return any(quantity_name(one) == "proton_density" for one in study.acquisitions)


def map_sets(acquisitions: Sequence[Acquisition]) -> list[MapSet]:
    """Every complete set of a study, in the order of its series.

    Of a map that is stored both as Parametric Map and as MR Image the former is taken: it holds
    the exact values.

    Raises:
        Refusal: a set has one of its maps more than once.
    """
    groups: list[list[Acquisition]] = []
    maps = [one for one in acquisitions if quantity_name(one) in _names()]
    for one in maps:
        for group in groups:
            if _belong_together(group[0], one):
                group.append(one)
                break
        else:
            groups.append([one])
    sets = []
    for group in groups:
        members = {name: _of_quantity(group, name) for name in WANTED}
        if all(members.values()):
            sets.append(MapSet({name: one for name, one in members.items() if one}))
    return sets


def choose_maps(acquisitions: Sequence[Acquisition]) -> MapSet:
    """The one set of measured maps of a study; what this pipeline made is left alone.

    Raises:
        Refusal: the maps lie on different grids, or there are several sets.
    """
    sets = [one for one in map_sets(acquisitions) if not one.super_resolved]
    if not sets:
        raise Refusal(
            "maps-differ-in-grid",
            "the PD, T1 and T2 maps of the study do not lie on one grid in one Frame of Reference",
            "Send the three maps of one acquisition, as the scanner reconstructed them.",
        )
    if len(sets) > 1:
        shown = " and ".join(f"series {one.numbers}" for one in sets)
        raise Refusal(
            "several-map-sets",
            f"the study holds {len(sets)} sets of PD, T1 and T2 maps ({shown})",
            "Send only one, or name the others as unrecognised under ingest.series.",
        )
    return sets[0]


def maps_for_images(acquisitions: Sequence[Acquisition]) -> MapSet:
    """The set from which images are computed: super-resolved maps where there are any.

    Raises:
        Refusal: there is no complete set, or more than one.
    """
    lacking = lacking_maps(acquisitions)
    if lacking:
        raise Refusal(
            "maps-missing",
            f"there is no {' and no '.join(lacking)} map that can be used",
            "Name a folder that holds PD, T1 and T2 maps: a study, or results of superres.",
        )
    made = [one for one in map_sets(acquisitions) if one.super_resolved]
    if len(made) == 1:
        return made[0]
    return choose_maps([one for one in acquisitions if not made or _is_result(one)])


def _names() -> set[str]:
    return {name for pair in WANTED.items() for name in pair if name}


def _belong_together(one: Acquisition, other: Acquisition) -> bool:
    return (
        study_of(one) == study_of(other)
        and same_frame_of_reference(one.geometry, other.geometry)
        and same_grid(one.geometry, other.geometry)
        and _is_result(one) == _is_result(other)
    )


def _is_result(acquisition: Acquisition) -> bool:
    return str(acquisition.source.header.get("ManufacturerModelName", "")) == ALGORITHM


def _of_quantity(group: Sequence[Acquisition], name: str) -> Acquisition | None:
    found = [one for one in group if quantity_name(one) == name]
    if not found:
        found = [one for one in group if quantity_name(one) == WANTED[name]]
    if len(found) > 1:
        exact = [one for one in found if _is_parametric_map(one)]
        if len(exact) != 1:
            numbers = ", ".join(str(one.source.series_number) for one in found)
            raise Refusal(
                "several-maps",
                f"the study holds {len(found)} {QUANTITIES[name].label} maps on one grid "
                f"(series {numbers})",
                "Send only the one that belongs to the others.",
            )
        found = exact
    return found[0] if found else None


def _is_parametric_map(acquisition: Acquisition) -> bool:
    return all(image.sop_class_uid == ParametricMapStorage for image in acquisition.source.images)


def study_of(acquisition: Acquisition) -> str:
    """Study Instance UID (0020,000D); "" where absent."""
    return str(acquisition.source.header.get("StudyInstanceUID", ""))
