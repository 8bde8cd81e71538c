"""The ledger's database: opened, locked and read back as records; SQLite or PostgreSQL.

The spool's files are the truth about what was received, and the folders of results about what was
made; the ledger says what is to be done with them. Everything written here may be written again
after a kill: each statement is idempotent.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, Row, Select, Table, create_engine, event, make_url
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError

from app.node.records import (
    Collection,
    CollectionState,
    Delivery,
    DeliveryState,
    JobState,
    NodeJob,
    Priority,
)
from app.node.tables import METADATA

_SECONDS_TO_WAIT_FOR_A_WRITER = 60
_SECONDS_TO_CONNECT = 10
_ATTEMPTS_TO_CREATE = 5

Record = TypeVar("Record")


class Ledger:
    """The database of one node, or of several that share their work.

    Args:
        url: ``sqlite:///FILE`` or ``postgresql://USER:PASSWORD@HOST/DATABASE``.
    """

    def __init__(self, url: str) -> None:
        self._engine = _engine(url)
        self._writes = self._engine.execution_options(quantmap_writes=True)
        _create_tables(self._engine)

    @property
    def is_shared(self) -> bool:
        """Whether several machines can use it."""
        return self._engine.dialect.name == "postgresql"

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that may write: all or nothing."""
        with self._writes.begin() as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that only reads."""
        with self._engine.connect() as connection:
            yield connection

    def rows(self, query: Select[Any], make: Callable[[Row[Any]], Record]) -> list[Record]:
        """What ``query`` finds, each row made a record."""
        with self.read() as connection:
            return [make(row) for row in connection.execute(query)]

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()


def insert_new(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> set[str]:
    """Insert the rows whose primary key is not there yet.

    Returns:
        the first primary key column of those that were inserted.
    """
    if not rows:
        return set()
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    first_key = next(iter(table.primary_key.columns))
    inserted: set[str] = set()
    # SQLite allows 32,766 values in a statement.
    step = 1000
    for begin in range(0, len(rows), step):
        statement = (
            dialect.insert(table)
            .values([dict(row) for row in rows[begin : begin + step]])
            .on_conflict_do_nothing()
            .returning(first_key)
        )
        inserted.update(connection.execute(statement).scalars())
    return inserted


def collection_of(row: Row[Any]) -> Collection:
    """A row of ``COLLECTIONS``."""
    values = dict(row._mapping)
    return Collection(**values | {"state": CollectionState(values["state"])})


def job_of(row: Row[Any]) -> NodeJob:
    """A row of ``JOBS``."""
    values = dict(row._mapping)
    return NodeJob(
        **values
        | {
            "state": JobState(values["state"]),
            "priority": Priority(values["priority"]),
            "pipelines": tuple(values["pipelines"]),
            "targets": tuple(values["targets"]),
        }
    )


def delivery_of(row: Row[Any]) -> Delivery:
    """A row of ``DELIVERIES``."""
    values = dict(row._mapping)
    return Delivery(**values | {"state": DeliveryState(values["state"])})


def now() -> float:
    """Seconds since 1970 (UTC)."""
    return time.time()


def sqlite_url(file: Path) -> str:
    """Address of an SQLite database in ``file``."""
    return f"sqlite:///{file.resolve()}"


def driver_url(url: str) -> str:
    """``url`` with the driver that this project has pinned for PostgreSQL."""
    parts = make_url(url)
    if parts.drivername in ("postgresql", "postgres"):
        parts = parts.set(drivername="postgresql+psycopg")
    return parts.render_as_string(hide_password=False)


def _engine(url: str) -> Engine:
    if not url.startswith("sqlite"):
        address = make_url(driver_url(url))
        # The driver would wait for minutes for a machine that does not answer at all.
        query = {"connect_timeout": str(_SECONDS_TO_CONNECT)} | dict(address.query)
        return create_engine(
            address.set(query=query), pool_pre_ping=True, pool_size=10, max_overflow=20
        )
    engine = create_engine(url, connect_args={"timeout": _SECONDS_TO_WAIT_FOR_A_WRITER})

    @event.listens_for(engine, "connect")
    def _set_up(connection: Any, _: Any) -> None:
        # The driver would begin transactions by itself, and only at the first write.
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # A transaction that turns from reading to writing cannot wait for another writer.
        writes = connection.get_execution_options().get("quantmap_writes")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _create_tables(engine: Engine) -> None:
    """Create what is missing; another process may be doing the same."""
    for attempt in range(_ATTEMPTS_TO_CREATE):
        try:
            METADATA.create_all(engine)
        except (IntegrityError, ProgrammingError, OperationalError):
            if attempt == _ATTEMPTS_TO_CREATE - 1:
                raise
            time.sleep(0.2)
        else:
            return
