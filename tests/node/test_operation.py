"""What people ask of a running node, and what goes wrong around it."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from app.node import history
from app.node.records import CollectionState, JobState
from tests.node.node_process import NodeProcess, ended_jobs, free_port, states, wait_for
from tests.node.peers import Archive, send
from tests.node.studies import OBJECTS, study_uid, write_study

TOKEN = "a-token-of-some-length"


@pytest.fixture(scope="module")
def archive() -> Iterator[Archive]:
    archive = Archive(free_port())
    archive.up()
    yield archive
    archive.down()


def settings_for(archive: Archive) -> dict:
    return {
        "completeness": [{"quiet_seconds": 1.5}],
        "page": {"port": 0, "token": TOKEN},
        "targets": {
            "archive": archive.target(seconds=60, back_off={"initial": 0.5, "longest": 1}),
            "nowhere": archive.target(
                port=free_port(),
                back_off={"initial": 0.3, "longest": 0.3, "give_up_after": 1},
            ),
        },
        "routes": [
            {
                "name": "both",
                "when": {"series": {"AccessionNumber": {"equals": "A5"}}},
                "pipelines": ["diffusion"],
                "targets": ["archive", "nowhere"],
            },
            {
                "name": "maps",
                "when": {"not": {"series": {"AccessionNumber": {"equals": "A9"}}}},
                "pipelines": ["diffusion"],
                "targets": ["archive"],
            },
        ],
    }


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory, archive: Archive) -> Iterator[NodeProcess]:
    node = NodeProcess(tmp_path_factory.mktemp("site"), settings_for(archive))
    node.start()
    yield node
    if node.running:
        node.kill()


@pytest.fixture
def api(node: NodeProcess) -> Iterator[httpx.Client]:
    """The JSON interface of the node that runs now."""
    page = node.messages("node ready")[-1]["page"]
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with httpx.Client(base_url=f"http://127.0.0.1:{page}", headers=headers, timeout=30) as api:
        yield api


def job_of(node: NodeProcess, number: int, seconds: float = 120, index: int = 0):
    """The newest job (or one before it) of a study, once all of its jobs have ended."""
    ledger = node.ledger()
    found: list = []

    def done() -> bool:
        found[:] = history.jobs(ledger, search=study_uid(number))
        return len(found) > index and all(job.finished for job in found)

    wait_for(done, seconds, lambda: states(ledger))
    ledger.close()
    return found[0]


def test_late_objects_are_run_together_with_the_first(node, archive, tmp_path) -> None:
    files = write_study(tmp_path, 1)
    # All of b0 and five directions; the rest comes when the job is done.
    assert len(send(node.port, files[:-3])) == len(files) - 3
    first = job_of(node, 1)
    assert len(send(node.port, files[-3:])) == 3
    second = job_of(node, 1, index=1)
    assert (first.objects, second.objects) == (OBJECTS - 3, OBJECTS)
    assert (first.id, first.generation) != (second.id, second.generation)
    assert second.state is JobState.DONE


def test_sent_twice_it_is_run_once(node, tmp_path) -> None:
    files = write_study(tmp_path, 2)
    for _ in range(2):
        assert len(send(node.port, files)) == OBJECTS
    assert job_of(node, 2).state is JobState.DONE
    assert len(send(node.port, files)) == OBJECTS
    ledger = node.ledger()
    assert len(history.jobs(ledger, search=study_uid(2))) == 1
    assert history.collection(ledger, study_uid(2)).state is CollectionState.COMPLETE


def test_what_no_rule_wants_is_skipped_and_says_why(node, tmp_path) -> None:
    send(node.port, write_study(tmp_path, 9))
    job = job_of(node, 9)
    assert job.state is JobState.SKIPPED
    assert "AccessionNumber = A9" in job.why


def test_a_target_that_is_away_for_a_while_gets_everything(node, archive, tmp_path) -> None:
    archive.down()
    send(node.port, write_study(tmp_path, 3))
    ledger = node.ledger()

    def tried() -> bool:
        return any(
            delivery.attempts >= 2
            for job in history.jobs(ledger, search=study_uid(3))
            for delivery in history.deliveries(ledger, job.id)
        )

    wait_for(tried, 120, lambda: states(ledger))
    assert history.targets(ledger)[0].waiting > 0
    archive.up()
    job = job_of(node, 3)
    sent = history.deliveries(ledger, job.id)
    assert job.state is JobState.DONE
    assert archive.instances(study_uid(3)) == {delivery.sop_instance_uid for delivery in sent}


def test_a_target_that_never_answers_is_given_up_with_its_reason(
    node, api, archive, tmp_path
) -> None:
    send(node.port, write_study(tmp_path, 5))
    job = job_of(node, 5)
    assert job.state is JobState.FAILED
    assert "nowhere: gave up" in job.failure
    assert job.result_status == "success"
    sent = history.deliveries(node.ledger(), job.id)
    uids = {delivery.sop_instance_uid for delivery in sent if delivery.target == "archive"}
    assert archive.instances(study_uid(5)) == uids
    # Sent again on demand, to the target that works: the same objects once more.
    before = dict(archive.received)
    assert api.post(f"/api/jobs/{job.id}/resend", params={"target": "archive"}).is_success
    wait_for(
        lambda: all(archive.received[uid] > before[uid] for uid in uids), 60, lambda: "not sent"
    )
    assert archive.instances(study_uid(5)) == uids


def test_a_repeat_gives_the_same_objects_and_sends_none_twice(node, api, archive, tmp_path) -> None:
    send(node.port, write_study(tmp_path, 6))
    first = job_of(node, 6)
    answer = api.post(f"/api/jobs/{first.id}/rerun")
    assert answer.is_success
    again = job_of(node, 6, index=1)
    assert (again.id, again.rerun_of) == (answer.json()["job"], first.id)
    assert again.state is JobState.DONE
    sent = [history.deliveries(node.ledger(), job) for job in (first.id, again.id)]
    first_uids, again_uids = ({one.sop_instance_uid for one in each} for each in sent)
    assert first_uids == again_uids == archive.instances(study_uid(6))
    assert all(f"since job {first.id}" in one.reason for one in sent[1])


def test_a_repeat_of_what_is_not_there_any_more_fails_and_leaves_nothing(
    node, api, tmp_path
) -> None:
    send(node.port, write_study(tmp_path, 11))
    first = job_of(node, 11)
    stored = history.objects(node.ledger(), first.collection, first.generation)
    (node.folder / stored[0].path).unlink()
    assert api.post(f"/api/jobs/{first.id}/rerun").is_success
    again = job_of(node, 11, index=1)
    assert again.state is JobState.FAILED
    assert "1 of 21 received objects" in again.failure
    assert not (node.folder / "jobs" / again.id).exists()


def test_a_job_is_cancelled_while_it_runs_and_one_is_completed_by_hand(
    node, api, archive, tmp_path
) -> None:
    worker = node.worker()
    if worker is not None:  # a new one takes its time to start
        os.kill(worker, 9)
    files = write_study(tmp_path, 7)
    send(node.port, files)
    key = study_uid(7)
    assert api.post("/api/receiving/complete", params={"key": key}).status_code in (204, 409)
    ledger = node.ledger()

    def running() -> bool:
        return any(job.state is JobState.RUNNING for job in history.jobs(ledger, search=key))

    wait_for(running, 60, lambda: states(ledger))
    (job,) = history.jobs(ledger, search=key)
    assert api.post(f"/api/jobs/{job.id}/cancel").is_success
    assert job_of(node, 7).state is JobState.CANCELLED
    assert api.post(f"/api/jobs/{job.id}/cancel").status_code == 409
    # The node goes on.
    send(node.port, write_study(tmp_path / "next", 8))
    assert job_of(node, 8).state is JobState.DONE


def test_ended_and_started_again_it_resumes(node, tmp_path) -> None:
    send(node.port, write_study(tmp_path, 10))
    ledger = node.ledger()
    wait_for(lambda: bool(history.jobs(ledger, search=study_uid(10))), 60, lambda: states(ledger))
    assert node.terminate() == 0
    node.start()
    assert job_of(node, 10).state is JobState.DONE


def test_a_second_node_in_the_same_folder_is_refused(node) -> None:
    other = subprocess.run(node.command, capture_output=True, text=True, timeout=60, check=False)
    assert other.returncode == 2
    assert "runs in" in other.stderr


@pytest.fixture
def small_disk(tmp_path: Path, tool: Callable[[str], str]) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(
        [tool("mount"), "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)], check=True
    )
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_costs_nothing_that_was_acknowledged(
    small_disk: Path, archive: Archive, tmp_path: Path
) -> None:
    settings = settings_for(archive) | {
        "folder": str(small_disk / "node"),
        "receive": {"smallest_free_bytes": 8 * 2**20},
        "completeness": [{"objects": OBJECTS, "quiet_seconds": 3600}],
    }
    node = NodeProcess(tmp_path / "site", settings)
    node.folder = small_disk / "node"
    node.start()
    try:
        files = write_study(tmp_path / "study", 20)
        taken = send(node.port, files[:5])
        assert len(taken) == 5
        filler = small_disk / "filler"
        disk = os.statvfs(small_disk)
        filler.write_bytes(bytes(disk.f_bavail * disk.f_frsize - 4 * 2**20))
        # The node looks at the disk every tenth of a second.
        time.sleep(0.3)
        assert send(node.port, files[5:10]) == set()
        filler.unlink()

        def rest() -> bool:
            taken.update(send(node.port, sorted(set(files) - taken)))
            return len(taken) == OBJECTS

        wait_for(rest, 60, lambda: len(taken))
        (job,) = ended_jobs(node.ledger(), 1)
        assert (job.state, job.failure, job.objects) == (JobState.DONE, "", OBJECTS)
    finally:
        node.kill()
