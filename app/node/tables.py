"""Tables of the ledger: what was received, what was run, what was delivered.

The same on SQLite and on PostgreSQL. Times are seconds since 1970 (UTC); 0 where not yet.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Double,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
)

METADATA = MetaData()
_UID = String(64)
_KEY = String(129)


def _time(name: str) -> Column[float]:
    return Column(name, Double, nullable=False, default=0.0)


def _text(name: str) -> Column[str]:
    return Column(name, Text, nullable=False, default="")


# Objects that are waited for together: a whole study, or one series of it. A generation is what
# arrived between two completions; a job of generation 3 takes the objects of 1, 2 and 3.
COLLECTIONS = Table(
    "collections",
    METADATA,
    Column("key", _KEY, primary_key=True),
    Column("study_instance_uid", _UID, nullable=False, index=True),
    Column("series_instance_uid", _UID, nullable=False, default=""),
    Column("accession_number", String(64), nullable=False, default="", index=True),
    Column("state", String(12), nullable=False),
    Column("generation", Integer, nullable=False),
    Column("objects", Integer, nullable=False),
    _time("first_received"),
    _time("last_received"),
    Column("forced", Boolean, nullable=False, default=False),
    _text("because"),
    Index("collections_by_state", "state", "last_received"),
)

SERIES = Table(
    "series",
    METADATA,
    Column("series_instance_uid", _UID, primary_key=True),
    Column("study_instance_uid", _UID, primary_key=True, index=True),
    Column("collection", _KEY, nullable=False, index=True),
    Column("number", Integer),
    Column("modality", String(16), nullable=False, default=""),
    _text("description"),
    # File of its first object, from which conditions are read; relative to the spool.
    _text("first_path"),
)

OBJECTS = Table(
    "objects",
    METADATA,
    # Relative to the spool. Another object under the same SOP Instance UID has another path.
    Column("path", String(255), primary_key=True),
    Column("sop_instance_uid", _UID, nullable=False, index=True),
    Column("sop_class_uid", _UID, nullable=False),
    Column("series_instance_uid", _UID, nullable=False, index=True),
    Column("study_instance_uid", _UID, nullable=False, index=True),
    Column("collection", _KEY, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("calling_ae", String(64), nullable=False, default=""),
    Column("called_ae", String(64), nullable=False, default=""),
    Column("address", String(64), nullable=False, default=""),
    Column("transport", String(8), nullable=False, default=""),
    Column("conflicting", Boolean, nullable=False, default=False),
    _time("received"),
    Index("objects_by_collection", "collection", "generation"),
)

JOBS = Table(
    "jobs",
    METADATA,
    Column("id", String(32), primary_key=True),
    Column("collection", _KEY, nullable=False, index=True),
    Column("generation", Integer, nullable=False),
    Column("study_instance_uid", _UID, nullable=False, index=True),
    Column("series_instance_uid", _UID, nullable=False, default=""),
    Column("accession_number", String(64), nullable=False, default="", index=True),
    Column("state", String(12), nullable=False),
    Column("priority", String(12), nullable=False),
    _text("rule"),
    _text("why"),
    Column("pipelines", JSON, nullable=False),
    Column("targets", JSON, nullable=False),
    Column("objects", Integer, nullable=False),
    _time("created"),
    _time("not_before"),
    _time("started"),
    _time("finished"),
    _time("changed"),
    Column("attempt", Integer, nullable=False, default=0),
    Column("rerun_of", String(32), nullable=False, default=""),
    _text("ordered_by"),
    Column("machine", String(128), nullable=False, default=""),
    _text("result_folder"),
    Column("result_status", String(12), nullable=False, default=""),
    _text("failure"),
    Column("models", JSON, nullable=False),
    Column("cancel", Boolean, nullable=False, default=False),
    Index("jobs_by_state", "state", "created"),
    Index("jobs_by_created", "created"),
    Index("jobs_by_changed", "changed"),
)

STEPS = Table(
    "steps",
    METADATA,
    Column("job", String(32), primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("name", String(64), primary_key=True),
    _time("started"),
    _time("finished"),
    _text("detail"),
)

DELIVERIES = Table(
    "deliveries",
    METADATA,
    Column("job", String(32), primary_key=True),
    Column("target", String(64), primary_key=True),
    Column("sop_instance_uid", _UID, primary_key=True),
    Column("sop_class_uid", _UID, nullable=False, default=""),
    Column("kind", String(32), nullable=False, default=""),
    _text("path"),
    Column("state", String(12), nullable=False),
    Column("attempts", Integer, nullable=False, default=0),
    _time("first_try"),
    _time("last_try"),
    _time("next_try"),
    _text("reason"),
    Index("deliveries_by_object", "sop_instance_uid", "target"),
    Index("deliveries_by_state", "state", "target"),
)

MACHINES = Table(
    "machines",
    METADATA,
    Column("name", String(128), primary_key=True),
    _time("started"),
    _time("seen"),
    Column("workers", Integer, nullable=False, default=0),
    _text("version"),
)
