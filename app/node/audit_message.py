"""DICOM audit messages (PS3.15 A.5) as plain JSON: who did what to which object, and the outcome.

Elements and codes are those of the standard's schema, with attributes and children alike as
members. The participant object of the patient is left out and UIDs are hashed: the trail
names no patient. What a hash stands for is in the ledger of the node.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum
from typing import Any, Literal

from operators.vocabulary.refusal import hashed_uid

Code = dict[str, str]
Message = dict[str, Any]
Action = Literal["C", "R", "U", "D", "E"]


class AuditOutcome(IntEnum):
    """Event Outcome Indicator (RFC 3881 5.1.4)."""

    SUCCESS = 0
    MINOR_FAILURE = 4
    SERIOUS_FAILURE = 8
    MAJOR_FAILURE = 12


def _dcm(value: str, meaning: str) -> Code:
    return {"csd-code": value, "codeSystemName": "DCM", "originalText": meaning}


APPLICATION_ACTIVITY = _dcm("110100", "Application Activity")
INSTANCES_ACCESSED = _dcm("110103", "DICOM Instances Accessed")
INSTANCES_TRANSFERRED = _dcm("110104", "DICOM Instances Transferred")
STUDY_DELETED = _dcm("110105", "DICOM Study Deleted")
SECURITY_ALERT = _dcm("110113", "Security Alert")
APPLICATION_START = _dcm("110120", "Application Start")
APPLICATION_STOP = _dcm("110121", "Application Stop")
NODE_AUTHENTICATION = _dcm("110126", "Node Authentication")
_APPLICATION = _dcm("110150", "Application")
_DESTINATION = _dcm("110152", "Destination Role ID")
_SOURCE = _dcm("110153", "Source Role ID")
_STUDY_UID = _dcm("110180", "Study Instance UID")
_CLASS_UID = _dcm("110181", "SOP Class UID")
# Participant Object Type Code 2 (system object), Role 3 (report) and 20 (job), RFC 3881 5.5.
_SYSTEM_OBJECT, _REPORT, _JOB = 2, 3, 20
_IP_ADDRESS = 2


@dataclass(frozen=True)
class Participant:
    """Somebody or something that took part.

    Attributes:
        user_id: AE title, name of a target, or of a user.
        address: network address; empty where it has none.
        role: what it did; None for a person.
        is_requestor: whether it started the event.
    """

    user_id: str
    address: str = ""
    role: Code | None = None
    is_requestor: bool = False

    def to_message(self) -> Message:
        """ActiveParticipant."""
        message: Message = {"UserID": self.user_id, "UserIsRequestor": self.is_requestor}
        if self.role is not None:
            message["RoleIDCode"] = [self.role]
        if self.address:
            message["NetworkAccessPointID"] = self.address
            message["NetworkAccessPointTypeCode"] = _IP_ADDRESS
        return message


def source(user_id: str, address: str = "", *, is_requestor: bool = False) -> Participant:
    """Who sent."""
    return Participant(user_id, address, _SOURCE, is_requestor)


def destination(user_id: str, address: str = "", *, is_requestor: bool = False) -> Participant:
    """Who received."""
    return Participant(user_id, address, _DESTINATION, is_requestor)


def application(name: str) -> Participant:
    """The node itself."""
    return Participant(name, role=_APPLICATION)


def study_object(
    study_instance_uid: str, instances: Sequence[str] = (), sop_class_uid: str = ""
) -> Message:
    """A study as participant object, perhaps with some of its instances.

    Args:
        study_instance_uid: hashed here.
        instances: SOP Instance UIDs; hashed here.
        sop_class_uid: of the instances; a class is no secret.
    """
    message: Message = {
        "ParticipantObjectTypeCode": _SYSTEM_OBJECT,
        "ParticipantObjectTypeCodeRole": _REPORT,
        "ParticipantObjectIDTypeCode": _STUDY_UID,
        "ParticipantObjectID": hashed_uid(study_instance_uid),
    }
    if instances:
        message["ParticipantObjectDescription"] = {
            "SOPClass": {
                "UID": sop_class_uid,
                "NumberOfInstances": len(instances),
                "Instance": [hashed_uid(uid) for uid in instances],
            }
        }
    return message


def job_object(job_id: str) -> Message:
    """A job of the node as participant object."""
    return {
        "ParticipantObjectTypeCode": _SYSTEM_OBJECT,
        "ParticipantObjectTypeCodeRole": _JOB,
        "ParticipantObjectID": job_id,
    }


def audit_message(
    event: Code,
    action: Action,
    outcome: AuditOutcome,
    participants: Sequence[Participant],
    audit_source: str,
    objects: Sequence[Message] = (),
    *,
    event_type: Code | None = None,
    description: str = "",
) -> Message:
    """AuditMessage.

    Args:
        event: EventID.
        action: EventActionCode: create, read, update, delete, execute.
        outcome: EventOutcomeIndicator.
        participants: who took part.
        audit_source: name of this node.
        objects: what it was done to.
        event_type: EventTypeCode.
        description: EventOutcomeDescription.
    """
    identification: Message = {
        "EventID": event,
        "EventActionCode": action,
        "EventDateTime": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "EventOutcomeIndicator": int(outcome),
    }
    if event_type is not None:
        identification["EventTypeCode"] = [event_type]
    if description:
        identification["EventOutcomeDescription"] = description
    return {
        "EventIdentification": identification,
        "ActiveParticipant": [participant.to_message() for participant in participants],
        "AuditSourceIdentification": {"AuditSourceID": audit_source},
        "ParticipantObjectIdentification": list(objects),
    }
