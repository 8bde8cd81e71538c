"""Delivers objects to a target, of whatever kind it is: one attempt, one outcome per object.

Objects keep their SOP Instance UIDs, so a repeated delivery is the same object again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from app.node.deliver.c_store import deliver_by_c_store
from app.node.deliver.commitments import Commitments
from app.node.deliver.folder import deliver_to_folder
from app.node.deliver.outcome import Outcome, Parcel, parcels_of
from app.node.deliver.settings import CStoreTarget, FolderTarget, StowTarget, TargetSettings
from app.node.deliver.stow import deliver_by_stow

# A new kind of target: its settings, a function, and a row here.
_DELIVERERS: Mapping[type, Callable[[Any, Sequence[Parcel], Commitments], list[Outcome]]] = {
    CStoreTarget: deliver_by_c_store,
    StowTarget: lambda target, parcels, _: deliver_by_stow(target, parcels),
    FolderTarget: lambda target, parcels, _: deliver_to_folder(target, parcels),
}


def deliver(
    target: TargetSettings, files: Sequence[Path], commitments: Commitments | None = None
) -> list[Outcome]:
    """Try once to bring objects to a target.

    Args:
        target: where to.
        files: DICOM files (PS3.10).
        commitments: where reports arrive that a target sends to the receiver of this node.

    Returns:
        One outcome for each file, in the order of ``files``. Trouble with the target is an
        outcome, never an exception.
    """
    parcels, outcomes = parcels_of(files)
    if parcels:
        deliverer = _DELIVERERS[type(target)]
        outcomes += deliverer(target, parcels, commitments or Commitments())
    by_path = {outcome.path: outcome for outcome in outcomes}
    return [by_path[path] for path in files]
