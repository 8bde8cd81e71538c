"""Enters what arrived into the ledger; anything may be entered again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from sqlalchemy import Connection, func, select, update

from app.node.arrival import Arrival
from app.node.completeness import rule_for
from app.node.conditions import Facts
from app.node.ledger import Ledger, insert_new
from app.node.records import CollectionState
from app.node.settings import CompletenessRule
from app.node.tables import COLLECTIONS, OBJECTS, SERIES


class Intake:
    """Enters arrivals, each into the collection in which it is waited for.

    Args:
        ledger: where.
        folder: of the node; paths in the ledger are relative to it.
        rules: which objects are waited for by study, and which by series.
        head_of: gives the data set of a file without pixels.
    """

    def __init__(
        self,
        ledger: Ledger,
        folder: Path,
        rules: Sequence[CompletenessRule],
        head_of: Callable[[Path], Dataset],
    ) -> None:
        self._ledger = ledger
        self._folder = folder
        self._rules = rules
        self._head_of = head_of

    def enter(self, arrivals: Sequence[Arrival]) -> int:
        """Enter arrivals, all or none.

        Objects that come after their collection was complete open it again.

        Returns:
            how many were not known before.
        """
        series = self._series(arrivals)
        collections: dict[str, list[Arrival]] = {}
        for arrival in arrivals:
            key = str(series[_series_key(arrival)]["collection"])
            collections.setdefault(key, []).append(arrival)
        entered = 0
        with self._ledger.write() as connection:
            # In one order everywhere, so that two machines cannot wait for each other.
            for key in sorted(collections):
                members = {_series_key(arrival) for arrival in collections[key]}
                rows = [series[member] for member in sorted(members)]
                entered += self._enter(connection, key, collections[key], rows)
        return entered

    def _series(self, arrivals: Sequence[Arrival]) -> dict[tuple[str, str], dict[str, Any]]:
        """Row of ``SERIES`` of each series, as it is or as it will be."""
        firsts: dict[tuple[str, str], Arrival] = {}
        for arrival in arrivals:
            firsts.setdefault(_series_key(arrival), arrival)
        # Two studies may hold one Series Instance UID: somebody's fault, but both are kept.
        uids = {series for _, series in firsts}
        known = {
            (row["study_instance_uid"], row["series_instance_uid"]): row
            for row in self._ledger.rows(
                select(SERIES).where(SERIES.c.series_instance_uid.in_(uids)),
                lambda row: dict(row._mapping),
            )
        }
        return {key: known.get(key) or self._new_series(arrival) for key, arrival in firsts.items()}

    def _new_series(self, first: Arrival) -> dict[str, Any]:
        head = self._head_of(first.path)
        facts = Facts(
            {"": head},
            frozenset([first.calling_ae]),
            frozenset([first.called_ae]),
            frozenset,
        )
        rule = rule_for(self._rules, facts)
        key = first.study_instance_uid
        if rule.of == "series":
            key = f"{key}/{first.series_instance_uid}"
        return {
            "series_instance_uid": first.series_instance_uid,
            "study_instance_uid": first.study_instance_uid,
            "collection": key,
            "number": _number(head),
            "modality": first.modality[:16],
            "description": _text(head, "SeriesDescription"),
            "first_path": self._relative(first.path),
        }

    def _enter(
        self,
        connection: Connection,
        key: str,
        arrivals: Sequence[Arrival],
        series: list[dict[str, Any]],
    ) -> int:
        study, _, one_series = key.partition("/")
        row = {
            "key": key,
            "study_instance_uid": study,
            "series_instance_uid": one_series,
            "accession_number": arrivals[0].accession_number[:64],
            "state": CollectionState.COMPLETE,
            "generation": 0,
            "objects": 0,
        }
        insert_new(connection, COLLECTIONS, [row])
        # Locked until the end of the transaction: nobody completes it meanwhile.
        found = connection.execute(
            select(COLLECTIONS.c.state, COLLECTIONS.c.generation)
            .where(COLLECTIONS.c.key == key)
            .with_for_update()
        ).one()
        is_open = found.state == CollectionState.OPEN
        generation = found.generation + (0 if is_open else 1)
        insert_new(connection, SERIES, series)
        entered = insert_new(
            connection,
            OBJECTS,
            [self._object(arrival, key, generation) for arrival in arrivals],
        )
        if not entered:
            return 0
        times = [arrival.received.timestamp() for arrival in arrivals]
        first = COLLECTIONS.c.first_received
        last = COLLECTIONS.c.last_received
        changes: dict[str, Any] = {
            "state": CollectionState.OPEN,
            "generation": generation,
            "objects": select(func.count()).where(OBJECTS.c.collection == key).scalar_subquery(),
        }
        if not is_open:
            changes |= {"forced": False, "because": ""}
        connection.execute(update(COLLECTIONS).where(COLLECTIONS.c.key == key).values(changes))
        connection.execute(
            update(COLLECTIONS)
            .where(COLLECTIONS.c.key == key, (first == 0) | (first > min(times)))
            .values(first_received=min(times))
        )
        connection.execute(
            update(COLLECTIONS)
            .where(COLLECTIONS.c.key == key, last < max(times))
            .values(last_received=max(times))
        )
        return len(entered)

    def _object(self, arrival: Arrival, key: str, generation: int) -> dict[str, Any]:
        return {
            "path": self._relative(arrival.path),
            "sop_instance_uid": arrival.sop_instance_uid,
            "sop_class_uid": arrival.sop_class_uid,
            "series_instance_uid": arrival.series_instance_uid,
            "study_instance_uid": arrival.study_instance_uid,
            "collection": key,
            "generation": generation,
            "bytes": arrival.size,
            "calling_ae": arrival.calling_ae[:64],
            "called_ae": arrival.called_ae[:64],
            "address": arrival.peer_address[:64],
            "transport": arrival.transport,
            "conflicting": arrival.conflicting,
            "received": arrival.received.timestamp(),
        }

    def _relative(self, path: Path) -> str:
        return path.relative_to(self._folder).as_posix()


def _series_key(arrival: Arrival) -> tuple[str, str]:
    return arrival.study_instance_uid, arrival.series_instance_uid


def _number(head: Dataset) -> int | None:
    try:
        number = head.get("SeriesNumber")
        return None if number is None else int(number)
    # Anybody's header: pydicom raises errors of many kinds when it decodes.
    except Exception:  # noqa: BLE001
        return None


def _text(head: Dataset, keyword: str) -> str:
    try:
        return str(head.get(keyword) or "")[:64]
    except Exception:  # noqa: BLE001 - as above
        return ""
