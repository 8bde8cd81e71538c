"""Delivery to a folder: each object complete and synced before it has its name."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from app.node.deliver.outcome import Outcome, OutcomeState, Parcel
from app.node.deliver.settings import FolderTarget
from app.node.encoded_header import UnreadableObject
from app.node.folder_sync import sync_folder
from app.node.spool_file import identity_in_file


def deliver_to_folder(target: FolderTarget, parcels: Sequence[Parcel]) -> list[Outcome]:
    """Put objects at ``STUDY/SERIES/OBJECT.dcm``, named by their UIDs; a repeat replaces."""
    if not target.folder.is_dir():
        reason = "the folder is not there; is its disk or share mounted?"
        return [parcel.outcome(OutcomeState.TRANSIENT, reason) for parcel in parcels]
    return [_delivered(target.folder, parcel) for parcel in parcels]


def _delivered(folder: Path, parcel: Parcel) -> Outcome:
    try:
        with parcel.path.open("rb") as file:
            identity = identity_in_file(
                file.fileno(), parcel.data_set_at, parcel.meta.transfer_syntax_uid
            )
    except UnreadableObject as error:
        return parcel.outcome(OutcomeState.PERMANENT, str(error))
    series = folder / identity.study_instance_uid / identity.series_instance_uid
    place = series / f"{identity.sop_instance_uid}.dcm"
    part = series / f".{identity.sop_instance_uid}.part"
    try:
        series.mkdir(parents=True, exist_ok=True)
        with parcel.path.open("rb") as source, part.open("wb") as copy:
            shutil.copyfileobj(source, copy, 1024 * 1024)
            copy.flush()
            os.fsync(copy.fileno())
        part.replace(place)
        for changed in (series, series.parent, folder):
            sync_folder(changed)
    except OSError as error:
        reason = f"the folder cannot be written: {error.strerror or type(error).__name__}"
        return parcel.outcome(OutcomeState.TRANSIENT, reason)
    return parcel.outcome(OutcomeState.DELIVERED)
