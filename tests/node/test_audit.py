"""The trail says who did what to which object, and no more than that."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from app.node.arrival import Arrival
from app.node.audit import AuditTrail
from app.node.deliver.outcome import Outcome, OutcomeState
from app.node.receive.channel import AssociationEvent
from tests.node.receiving import in_threads

STUDY, SERIES, INSTANCE = "1.2.3.1", "1.2.3.2", "1.2.3.3"


def arrival(**changes: Any) -> Arrival:
    values: dict[str, Any] = {
        "path": Path("/spool/x.dcm"),
        "study_instance_uid": STUDY,
        "series_instance_uid": SERIES,
        "sop_instance_uid": INSTANCE,
        "sop_class_uid": "1.2.840.10008.5.1.4.1.1.4",
        "modality": "MR",
        "accession_number": "ACC-4711",
        "calling_ae": "SCANNER",
        "called_ae": "QUANTMAP",
        "peer_address": "10.1.2.3",
        "transport": "dimse",
        "received": datetime(2026, 1, 2, tzinfo=UTC),
        "size": 1000,
    }
    return Arrival(**(values | changes))


def lines(folder: Path) -> list[dict[str, Any]]:
    text = "".join(path.read_text() for path in sorted(folder.glob("audit*.jsonl")))
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def trail(tmp_path: Path) -> AuditTrail:
    return AuditTrail(tmp_path / "audit", "node-1")


def test_receiving_names_both_sides_and_the_object(trail: AuditTrail, tmp_path: Path) -> None:
    trail.received([arrival(), arrival(conflicting=True)])
    first, second = lines(tmp_path / "audit")
    event = first["EventIdentification"]
    assert event["EventID"]["csd-code"] == "110104"
    assert (event["EventActionCode"], event["EventOutcomeIndicator"]) == ("C", 0)
    sender, receiver = first["ActiveParticipant"]
    assert (sender["UserID"], sender["NetworkAccessPointID"]) == ("SCANNER", "10.1.2.3")
    assert sender["RoleIDCode"][0]["csd-code"] == "110153"
    assert (receiver["UserID"], receiver["RoleIDCode"][0]["csd-code"]) == ("QUANTMAP", "110152")
    assert second["EventIdentification"]["EventOutcomeIndicator"] == 4


def test_no_uid_and_no_accession_number_is_in_it(trail: AuditTrail, tmp_path: Path) -> None:
    trail.started()
    trail.received([arrival()])
    trail.ran("job-1", STUDY, [INSTANCE], by="rule diffusion", failure="no b0")
    outcome = Outcome(Path("x"), INSTANCE, OutcomeState.TRANSIENT, "refused")
    trail.delivered("pacs", [outcome], "job-1", STUDY)
    trail.asked("run again", "job-1", "somebody", "10.0.0.9")
    trail.removed(STUDY, "older than 30 days")
    trail.stopped()
    text = (tmp_path / "audit" / "audit.jsonl").read_text()
    assert not any(uid in text for uid in (STUDY, SERIES, INSTANCE, "ACC-4711"))
    codes = [
        line["EventIdentification"]["EventID"]["csd-code"] for line in lines(tmp_path / "audit")
    ]
    assert codes == ["110100", "110104", "110103", "110104", "110100", "110105", "110100"]


def test_the_same_object_can_be_followed(trail: AuditTrail, tmp_path: Path) -> None:
    trail.received([arrival()])
    outcome = Outcome(Path("x"), INSTANCE, OutcomeState.DELIVERED)
    trail.delivered("pacs", [outcome], "job-1", STUDY)
    received, sent = (
        line["ParticipantObjectIdentification"][0] for line in lines(tmp_path / "audit")
    )
    assert received["ParticipantObjectID"] == sent["ParticipantObjectID"]
    instances = [
        one["ParticipantObjectDescription"]["SOPClass"]["Instance"] for one in (received, sent)
    ]
    assert instances[0] == instances[1]


def test_rejected_senders_are_an_alert_and_accepted_ones_are_not(
    trail: AuditTrail, tmp_path: Path
) -> None:
    for what in ("accepted", "ended", "rejected", "refused"):
        trail.association(AssociationEvent(what, "STRANGER", "QUANTMAP", "10.9.9.9", "why"))
    rejected, refused = lines(tmp_path / "audit")
    assert rejected["EventIdentification"]["EventID"]["csd-code"] == "110113"
    assert refused["EventIdentification"]["EventOutcomeIndicator"] == 8


def test_full_files_are_put_aside_and_nothing_is_lost(tmp_path: Path) -> None:
    trail = AuditTrail(tmp_path, "node-1", longest_bytes=5000)
    in_threads(lambda _: [trail.received([arrival()]) for _ in range(25)] and None, 4)
    assert len(lines(tmp_path)) == 100
    assert len(list(tmp_path.glob("audit-*.jsonl"))) > 5


def test_only_so_many_full_files_are_kept(tmp_path: Path) -> None:
    trail = AuditTrail(tmp_path, "node-1", longest_bytes=1, most_files=3)
    for _ in range(9):
        trail.started()
    assert len(list(tmp_path.glob("audit-*.jsonl"))) == 3
