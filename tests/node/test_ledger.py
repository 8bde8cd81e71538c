"""Arrivals, completions, jobs and deliveries in the ledger: on SQLite and on PostgreSQL alike."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from app.node import deliveries, history, jobs
from app.node.arrival import Arrival
from app.node.audit import AuditTrail
from app.node.intake import Intake
from app.node.ledger import Ledger, sqlite_url
from app.node.records import Collection, CollectionState, DeliveryState, JobState, Priority
from app.node.retention import Retention
from app.node.settings import CompletenessRule, RetentionSettings, RouteRule
from app.result_file import OutputEntry, ResultFile, RunStatus
from tests.node.database import new_database

STUDY, SERIES = "1.2.3", "1.2.3.4"
RULE = RouteRule(name="all", targets=("pacs", "archive"), priority=Priority.URGENT)


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    if request.param == "sqlite":
        url = sqlite_url(tmp_path / "ledger.sqlite")
    else:
        url = new_database(request.getfixturevalue("postgres"), f"t{uuid.uuid4().hex}")
    ledger = Ledger(url)
    yield ledger
    ledger.close()


@pytest.fixture
def arrive(ledger: Ledger, tmp_path: Path) -> Callable[..., int]:
    """Enter objects 1 to ``number`` of a series; gives how many were new."""

    def enter(number: int, series: str = SERIES, study: str = STUDY, *rules: str) -> int:
        intake = Intake(
            ledger,
            tmp_path,
            [CompletenessRule.model_validate({"of": of}) for of in rules],
            lambda path: Dataset(),
        )
        return intake.enter([arrival(tmp_path, n, series, study) for n in range(number)])

    return enter


def arrival(folder: Path, number: int, series: str, study: str) -> Arrival:
    path = folder / series / f"{number}.dcm"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"object")
    return Arrival(
        path=path,
        study_instance_uid=study,
        series_instance_uid=series,
        sop_instance_uid=f"{series}.{number}",
        sop_class_uid="1.2.840.10008.5.1.4.1.1.4",
        modality="MR",
        accession_number="A7",
        calling_ae="SCANNER",
        called_ae="QUANTMAP",
        peer_address="10.0.0.1",
        transport="dimse",
        received=datetime.fromtimestamp(1000 + number, UTC),
        size=6,
    )


def the_collection(ledger: Ledger, key: str = STUDY) -> Collection:
    found = history.collection(ledger, key)
    assert found is not None
    return found


def complete(ledger: Ledger, key: str = STUDY) -> str:
    job = jobs.close_collection(ledger, the_collection(ledger, key), "quiet", RULE, "why", 0)
    assert job is not None
    return job


def finish(ledger: Ledger, job: str) -> None:
    jobs.start_job(ledger, job, "here")
    assert jobs.set_state(ledger, job, JobState.DONE)


class TestArrivals:
    def test_what_is_entered_again_changes_nothing(self, ledger, arrive) -> None:
        assert arrive(3) == 3
        before = the_collection(ledger)
        assert arrive(3) == 0
        assert the_collection(ledger) == before
        assert (before.objects, before.first_received, before.last_received) == (3, 1000, 1002)
        assert history.object_counts(ledger, STUDY) == {SERIES: 3}

    def test_a_study_waits_as_a_whole_or_series_by_series(self, ledger, arrive) -> None:
        arrive(2, "1.2.3.4")
        arrive(2, "1.2.3.5")
        assert the_collection(ledger).objects == 4
        arrive(2, "1.9.1", "1.9", "series")
        arrive(3, "1.9.2", "1.9", "series")
        assert the_collection(ledger, "1.9/1.9.1").objects == 2
        assert the_collection(ledger, "1.9/1.9.2").objects == 3

    def test_late_objects_open_it_again_and_the_next_job_takes_all(self, ledger, arrive) -> None:
        arrive(2)
        first = complete(ledger)
        assert arrive(2) == 0
        assert the_collection(ledger).state is CollectionState.COMPLETE
        assert arrive(5) == 3
        assert the_collection(ledger).state is CollectionState.OPEN
        second = complete(ledger)
        taken = [history.job(ledger, job) for job in (first, second)]
        assert [job.objects for job in taken if job] == [2, 5]
        assert len(history.objects(ledger, STUDY, 1)) == 2
        assert len(history.objects(ledger, STUDY, 2)) == 5

    def test_an_arrival_in_between_prevents_the_completion(self, ledger, arrive) -> None:
        arrive(2)
        seen = the_collection(ledger)
        arrive(3)
        assert jobs.close_collection(ledger, seen, "quiet", RULE, "why", 0) is None
        assert the_collection(ledger).state is CollectionState.OPEN

    def test_of_many_that_complete_it_at_once_one_does(self, ledger, arrive) -> None:
        arrive(2)
        seen = the_collection(ledger)
        made: list[str | None] = []

        def close() -> None:
            made.append(jobs.close_collection(ledger, seen, "quiet", RULE, "why", 0))

        threads = [threading.Thread(target=close) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(job is None for job in made) == [False] + [True] * 5
        assert len(history.jobs(ledger)) == 1

    def test_many_that_enter_at_once_lose_nothing(self, ledger, arrive) -> None:
        def enter(number: int) -> None:
            arrive(20, f"1.2.3.{number % 3}")

        threads = [threading.Thread(target=enter, args=(number,)) for number in range(9)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert the_collection(ledger).objects == 60
        assert sum(history.object_counts(ledger, STUDY).values()) == 60


class TestJobs:
    def test_a_job_carries_what_the_rule_says(self, ledger, arrive) -> None:
        arrive(2)
        job = history.job(ledger, complete(ledger))
        assert job is not None
        assert (job.state, job.rule, job.priority) == (JobState.QUEUED, "all", Priority.URGENT)
        assert (job.targets, job.accession_number) == (("pacs", "archive"), "A7")

    def test_without_a_rule_it_is_skipped_and_says_why(self, ledger, arrive) -> None:
        arrive(2)
        identifier = jobs.close_collection(
            ledger, the_collection(ledger), "quiet", None, "no rule", 0
        )
        job = history.job(ledger, identifier)
        assert (job.state, job.why) == (JobState.SKIPPED, "no rule")

    def test_what_has_ended_stays_as_it_is(self, ledger, arrive) -> None:
        arrive(2)
        job = complete(ledger)
        finish(ledger, job)
        assert not jobs.set_state(ledger, job, JobState.FAILED, "late news")
        assert jobs.start_job(ledger, job, "here") is None
        assert history.job(ledger, job).state is JobState.DONE

    def test_each_start_counts(self, ledger, arrive) -> None:
        arrive(2)
        job = complete(ledger)
        attempts = [jobs.start_job(ledger, job, machine).attempt for machine in ("a", "b")]
        assert attempts == [1, 2]
        assert history.job(ledger, job).machine == "b"

    def test_a_repeat_is_a_job_of_its_own_over_all_that_is_there(self, ledger, arrive) -> None:
        arrive(2)
        first = complete(ledger)
        finish(ledger, first)
        arrive(4)
        job = history.job(ledger, first)
        repeats = [jobs.repeat_job(ledger, job, the_collection(ledger), "me") for _ in range(2)]
        assert len({first, *repeats}) == 3
        repeat = history.job(ledger, repeats[0])
        assert (repeat.rerun_of, repeat.objects, repeat.ordered_by) == (first, 4, "me")

    def test_an_order_with_one_key_is_one_job(self, ledger, arrive) -> None:
        arrive(2)
        order = {"pipelines": (), "targets": (), "priority": Priority.NORMAL, "ordered_by": "ups"}
        made = {
            jobs.order_job(ledger, the_collection(ledger), **order, key=key)
            for key in ("1", "1", "2")
        }
        assert len(made) == 2

    def test_search_and_pages(self, ledger, arrive) -> None:
        for number in range(5):
            arrive(1, f"1.7.{number}.1", f"1.7.{number}")
            complete(ledger, f"1.7.{number}")
        first = history.jobs(ledger, limit=3)
        last = first[-1]
        rest = history.jobs(ledger, before=(last.created, last.id))
        assert len({job.id for job in (*first, *rest)}) == 5
        for text in ("1.7.2", "1.7.2.1", "1.7.2.1.0"):
            (found,) = history.jobs(ledger, search=text)
            assert found.study_instance_uid == "1.7.2"
        assert len(history.jobs(ledger, search="A7")) == 5
        assert history.jobs(ledger, search="%") == []
        assert history.job_counts(ledger)[JobState.QUEUED] == 5


def result_of(*uids: str) -> ResultFile:
    outputs = tuple(
        OutputEntry(path=f"{uid}.dcm", kind="parametric map", sop_instance_uid=uid) for uid in uids
    )
    picture = OutputEntry(path="summary.png", kind="summary picture")
    return ResultFile(
        status=RunStatus.SUCCESS,
        exit_status=0,
        started="",
        finished="",
        outputs=(*outputs, picture),
    )


class TestDeliveries:
    def test_every_object_for_every_target_once(self, ledger, arrive) -> None:
        arrive(1)
        job = complete(ledger)
        for _ in range(2):
            left = deliveries.plan_deliveries(ledger, job, job, result_of("1", "2"), ["a", "b"])
            assert left == 4
        assert len(history.deliveries(ledger, job)) == 4

    def test_what_the_target_has_from_an_earlier_job_is_not_sent_again(
        self, ledger, arrive
    ) -> None:
        arrive(1)
        first = complete(ledger)
        deliveries.plan_deliveries(ledger, first, first, result_of("1", "2"), ["a"])
        one, _ = deliveries.waiting(ledger, first, "a")
        deliveries.note_try(ledger, one, DeliveryState.DELIVERED)
        finish(ledger, first)
        collection = the_collection(ledger)
        again = jobs.repeat_job(ledger, history.job(ledger, first), collection, "")
        left = deliveries.plan_deliveries(ledger, again, again, result_of("1", "2"), ["a", "b"])
        assert left == 3
        assert [d.sop_instance_uid for d in deliveries.waiting(ledger, again, "a")] == ["2"]

    def test_tries_are_counted_and_sent_again_on_demand(self, ledger, arrive) -> None:
        arrive(1)
        job = complete(ledger)
        deliveries.plan_deliveries(ledger, job, job, result_of("1"), ["a"])
        for _ in range(3):
            (entry,) = deliveries.waiting(ledger, job, "a")
            deliveries.note_try(ledger, entry, DeliveryState.WAITING, "down", 99.0)
        (entry,) = history.deliveries(ledger, job)
        assert (entry.attempts, entry.reason, entry.next_try) == (3, "down", 99.0)
        assert history.targets(ledger)[0].waiting == 1
        deliveries.note_try(ledger, entry, DeliveryState.FAILED, "gave up")
        assert deliveries.open_count(ledger, job) == 0
        assert deliveries.failures(ledger, job)[0].reason == "gave up"
        assert deliveries.send_again(ledger, job, "a") == {"a"}
        assert deliveries.send_again(ledger, job, "b") == set()
        assert deliveries.open_count(ledger, job) == 1


class TestRetention:
    @pytest.fixture
    def clean(self, ledger: Ledger, tmp_path: Path) -> Callable[..., None]:
        def clean(**settings: float) -> None:
            kept = RetentionSettings(free_fraction=0, **settings)
            Retention(
                ledger, tmp_path, tmp_path / "results", kept, AuditTrail(tmp_path / "audit", "node")
            ).clean()

        return clean

    def test_what_is_not_done_stays(self, ledger, arrive, clean, tmp_path) -> None:
        arrive(2)
        clean(received_days=0)
        job = complete(ledger)
        clean(received_days=0)
        jobs.start_job(ledger, job, "here")
        clean(received_days=0)
        assert len(list((tmp_path / SERIES).iterdir())) == 2

    def test_what_is_done_goes_and_may_come_again(self, ledger, arrive, clean, tmp_path) -> None:
        arrive(2)
        finish(ledger, complete(ledger))
        clean()
        assert (tmp_path / SERIES).exists()
        beside = tmp_path / SERIES / "arriving.dcm"
        beside.write_bytes(b"not in the ledger yet")
        clean(received_days=0)
        assert [path.name for path in (tmp_path / SERIES).iterdir()] == [beside.name]
        assert the_collection(ledger).state is CollectionState.REMOVED
        assert history.series(ledger, STUDY) == []
        assert arrive(2) == 2
        assert history.job(ledger, complete(ledger)).generation == 2

    def test_results_and_history_go_by_rules_of_their_own(
        self, ledger, arrive, clean, tmp_path
    ) -> None:
        arrive(1)
        job = complete(ledger)
        folder = tmp_path / "results" / job
        folder.mkdir(parents=True)
        jobs.set_result(ledger, job, job, "success", {})
        clean(results_days=0, history_days=0)
        assert folder.exists()
        finish(ledger, job)
        clean(results_days=0)
        assert not folder.exists()
        assert history.job(ledger, job).result_folder == ""
        clean(results_days=0, history_days=0)
        assert history.job(ledger, job) is None
