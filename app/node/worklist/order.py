"""What run a work item orders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydicom.dataset import Dataset

from app.node.deliver.settings import CStoreTarget, TargetSettings
from app.node.encoded_header import UnreadableObject, checked_uid
from app.node.records import Priority
from app.node.worklist.settings import OWN_SCHEME, WorklistSettings
from app.node.worklist.workitem import UpsProblem, UpsStatus
from app.pipelines import PIPELINES

_PRIORITIES = {"HIGH": Priority.URGENT, "MEDIUM": Priority.NORMAL, "LOW": Priority.OFF_PEAK}


@dataclass(frozen=True)
class WorkOrder:
    """A run over one study.

    Attributes:
        study_instance_uid: of the study.
        pipelines: names; empty for all.
        targets: names of those that get the results.
        priority: in the queue.
    """

    study_instance_uid: str
    pipelines: tuple[str, ...]
    targets: tuple[str, ...]
    priority: Priority


def order_in(
    data_set: Dataset, settings: WorklistSettings, targets: Mapping[str, TargetSettings]
) -> WorkOrder:
    """Read the order out of the attributes of a work item (PS3.4 table CC.2.5-3).

    The study is that of Input Information Sequence (0040,4021), the pipelines are named by
    Scheduled Workitem Code Sequence (0040,4018), the targets by the Destination AE of Output
    Destination Sequence (0040,4070).

    Raises:
        UpsProblem: it names no study or several, or a code, destination or priority that is not
            known here.
    """
    priority = str(data_set.get("ScheduledProcedureStepPriority") or "")
    if priority not in _PRIORITIES:
        raise _invalid("ScheduledProcedureStepPriority is HIGH, MEDIUM or LOW")
    return WorkOrder(
        _study(data_set),
        _pipelines(data_set, settings),
        _targets(data_set, targets),
        _PRIORITIES[priority],
    )


def _study(data_set: Dataset) -> str:
    items = data_set.get("InputInformationSequence") or ()
    studies = {str(item.get("StudyInstanceUID") or "") for item in items}
    if len(studies) != 1:
        raise _invalid("InputInformationSequence must name one study")
    try:
        return checked_uid(studies.pop(), "Study Instance UID")
    except UnreadableObject as error:
        raise _invalid(str(error)) from None


def _pipelines(data_set: Dataset, settings: WorklistSettings) -> tuple[str, ...]:
    names: list[str] = []
    for item in data_set.get("ScheduledWorkitemCodeSequence") or ():
        scheme = str(item.get("CodingSchemeDesignator") or "")
        value = str(item.get("CodeValue") or "")
        if scheme == OWN_SCHEME and value in PIPELINES:
            names.append(value)
        elif f"{scheme}:{value}" in settings.workitems:
            names += settings.workitems[f"{scheme}:{value}"]
        else:
            raise _invalid("the work item code is not known here")
    return tuple(dict.fromkeys(names))


def _targets(data_set: Dataset, targets: Mapping[str, TargetSettings]) -> tuple[str, ...]:
    by_title = {
        target.ae_title: name
        for name, target in targets.items()
        if isinstance(target, CStoreTarget)
    }
    names = []
    for destination in data_set.get("OutputDestinationSequence") or ():
        for item in destination.get("DICOMStorageSequence") or ():
            title = str(item.get("DestinationAE") or "").strip()
            if title not in by_title:
                raise _invalid("the destination AE is not among node.targets")
            names.append(by_title[title])
    return tuple(dict.fromkeys(names))


def _invalid(comment: str) -> UpsProblem:
    return UpsProblem(UpsStatus.INVALID_ATTRIBUTE_VALUE, comment)
