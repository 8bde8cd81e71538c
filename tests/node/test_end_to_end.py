"""A study goes in by C-STORE, its results come out; the node is started, stopped, started."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.node import history
from app.node.records import DeliveryState, JobState
from tests.node.node_process import NodeProcess, ended_jobs, free_port
from tests.node.peers import Archive, storescu
from tests.node.studies import OBJECTS, study_uid, write_study


@pytest.fixture(scope="module")
def archive():
    archive = Archive(free_port())
    archive.up()
    yield archive
    archive.down()


def node_settings(archive: Archive) -> dict:
    return {
        "completeness": [{"objects": OBJECTS, "quiet_seconds": 3}],
        "targets": {
            "archive": {
                "kind": "c-store",
                "ae_title": "ARCHIVE",
                "host": "127.0.0.1",
                "port": archive.port,
                "back_off": {"initial": 0.5, "longest": 1},
            }
        },
        "routes": [
            {
                "name": "diffusion",
                "when": {"series": {"AccessionNumber": {"matches": "^A"}}},
                "pipelines": ["diffusion"],
                "targets": ["archive"],
            }
        ],
    }


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory, archive: Archive):
    node = NodeProcess(tmp_path_factory.mktemp("site"), node_settings(archive))
    node.start()
    yield node
    if node.running:
        node.kill()


def test_a_study_is_run_and_its_results_are_delivered_once(
    node: NodeProcess, archive: Archive, tool, tmp_path: Path
) -> None:
    assert storescu(tool("storescu"), node.port, write_study(tmp_path, 1)) == 0
    ledger = node.ledger()
    (job,) = ended_jobs(ledger, 1)
    assert (job.state, job.failure) == (JobState.DONE, "")
    assert (job.rule, job.objects, job.result_status) == ("diffusion", OBJECTS, "success")
    sent = history.deliveries(ledger, job.id)
    assert {delivery.state for delivery in sent} == {DeliveryState.DELIVERED}
    uids = {delivery.sop_instance_uid for delivery in sent}
    assert dict(archive.received) == dict.fromkeys(uids, 1)
    assert {step.name for step in history.steps(ledger, job.id)} > {"stage", "load", "diffusion"}
    assert all(step.finished for step in history.steps(ledger, job.id))


def test_the_log_names_no_patient(node: NodeProcess) -> None:
    text = node.log.read_text()
    assert "SECRET" not in text
    assert study_uid(1) not in text
