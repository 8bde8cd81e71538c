"""A ledger with a history, and results of one of its jobs, for tests of the page."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, ParametricMapStorage, generate_uid
from sqlalchemy import insert

from app.node.ledger import Ledger
from app.node.records import CollectionState, DeliveryState, JobState, Priority
from app.node.tables import COLLECTIONS, DELIVERIES, JOBS, MACHINES, SERIES, STEPS
from app.result_file import (
    FILE_NAME,
    FindingEntry,
    OutputEntry,
    PipelineEntry,
    RefusalEntry,
    ResultFile,
)

STUDY = "1.2.826.0.1.3680043.8.498.77"
ACCESSION = "ACC-4711"
DONE_JOB = "d" * 32
FAILED_JOB = "f" * 32
RUNNING_JOB = "a" * 32
RESULTS_OF_DONE = "results-of-done"
HOSTILE = '<script>alert("x")</script>'


def fill(ledger: Ledger, results: Path, more_jobs: int = 0) -> None:
    """Write a done, a failed and a running job, something being received, and old jobs."""
    moment = time.time()
    rows = [
        _job(DONE_JOB, JobState.DONE, moment - 400, result_folder=RESULTS_OF_DONE)
        | {"accession_number": ACCESSION, "study_instance_uid": STUDY, "targets": ["pacs"]},
        _job(FAILED_JOB, JobState.FAILED, moment - 300)
        | {"failure": "the worker process was ended by SIGKILL"},
        _job(RUNNING_JOB, JobState.RUNNING, moment - 20, finished=0.0)
        | {"priority": Priority.URGENT, "rule": HOSTILE},
        *(
            _job(f"{number:032x}", JobState.DONE, moment - 1000 - 60 * number)
            for number in range(more_jobs)
        ),
    ]
    with ledger.write() as connection:
        connection.execute(insert(JOBS), rows)
        connection.execute(
            insert(COLLECTIONS),
            {
                "key": "1.2.3",
                "study_instance_uid": "1.2.3",
                "accession_number": "ACC-9",
                "state": CollectionState.OPEN,
                "generation": 1,
                "objects": 42,
                "first_received": moment - 30,
                "last_received": moment - 3,
            },
        )
        connection.execute(
            insert(SERIES),
            {
                "series_instance_uid": f"{STUDY}.1",
                "study_instance_uid": STUDY,
                "collection": STUDY,
                "number": 5,
                "modality": "MR",
                "description": "dwi b1000 30 directions",
            },
        )
        connection.execute(
            insert(STEPS),
            [
                {
                    "job": DONE_JOB,
                    "attempt": 1,
                    "name": name,
                    "started": moment - 390 + 20 * place,
                    "finished": moment - 375 + 20 * place,
                    "detail": "",
                }
                for place, name in enumerate(("stage", "run", "deliver"))
            ],
        )
        connection.execute(
            insert(DELIVERIES),
            [
                {
                    "job": DONE_JOB,
                    "target": "pacs",
                    "sop_instance_uid": f"{STUDY}.9.{number}",
                    "path": f"{RESULTS_OF_DONE}/{number}.dcm",
                    "state": state,
                    "attempts": 2,
                    "next_try": moment + 60 if state is DeliveryState.WAITING else 0.0,
                    "reason": "connection refused" if state is DeliveryState.WAITING else "",
                }
                for number, state in enumerate((DeliveryState.DELIVERED, DeliveryState.WAITING))
            ],
        )
        connection.execute(
            insert(MACHINES),
            {
                "name": "node",
                "started": moment - 4000,
                "seen": moment - 2,
                "workers": 1,
                "version": "0.1.0",
            },
        )
    _write_results(results / RESULTS_OF_DONE)


def _job(identifier: str, state: JobState, created: float, **changes: object) -> dict[str, object]:
    return {
        "id": identifier,
        "collection": STUDY,
        "generation": 1,
        "study_instance_uid": f"1.2.826.{int(identifier[:6], 16)}",
        "state": state,
        "priority": Priority.NORMAL,
        "rule": "brain",
        "why": "the first rule that matches is 'brain'",
        "pipelines": ["diffusion"],
        "targets": [],
        "objects": 64,
        "created": created,
        "not_before": 0.0,
        "started": created + 5,
        "finished": created + 65,
        "changed": created + 65,
        "models": {},
        "failure": "",
        "result_folder": "",
        "accession_number": "",
        "cancel": False,
    } | changes


def _write_results(folder: Path) -> None:
    folder.mkdir(parents=True)
    write_map(folder / "fa.dcm", np.linspace(0, 1, 3 * 20 * 16).reshape(3, 20, 16))
    result = ResultFile(
        status="partial",
        exit_status=3,
        started="2026-01-01T00:00:00+00:00",
        finished="2026-01-01T00:01:00+00:00",
        pipelines=(PipelineEntry(name="diffusion", state="ran", series_analysed=1),),
        refusals=(
            RefusalEntry(
                rule="too-few-directions",
                reason="4 directions, a tensor needs 6",
                remedy="Acquire more",
                number=7,
                needed=True,
            ),
        ),
        findings=(
            FindingEntry(
                code="noise-floor",
                severity="warning",
                message=f"signal at the noise floor {HOSTILE}",
                pipeline="diffusion",
                series="0" * 12,
                number=5,
            ),
        ),
        outputs=(
            OutputEntry(path="fa.dcm", kind="parametric map", quantity="fractional_anisotropy"),
        ),
    )
    (folder / FILE_NAME).write_text(result.to_json())


def write_map(file: Path, values: np.ndarray) -> None:
    """A Parametric Map with what a picture needs: float pixels and their spacing."""
    data_set = Dataset()
    data_set.file_meta = FileMetaDataset()
    data_set.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data_set.file_meta.MediaStorageSOPClassUID = ParametricMapStorage
    data_set.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    data_set.SOPClassUID = ParametricMapStorage
    data_set.SOPInstanceUID = data_set.file_meta.MediaStorageSOPInstanceUID
    data_set.NumberOfFrames, data_set.Rows, data_set.Columns = values.shape
    measures = Dataset()
    measures.PixelSpacing = [2.0, 1.0]
    groups = Dataset()
    groups.PixelMeasuresSequence = [measures]
    data_set.SharedFunctionalGroupsSequence = [groups]
    data_set.FloatPixelData = values.astype("<f4").tobytes()
    pydicom.dcmwrite(file, data_set, enforce_file_format=True)
