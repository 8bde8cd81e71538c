"""A real series goes in by C-STORE and its results are found in the archive; nobody helps."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pydicom
import pytest

from app.node import history
from app.node.records import DeliveryState, JobState
from tests.node.node_process import NodeProcess, ended_jobs
from tests.node.peers import storescu
from tests.orthanc import Orthanc, orthanc

Tool = Callable[[str], str]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory, tool: Tool) -> Iterator[Orthanc]:
    with orthanc(tmp_path_factory.mktemp("orthanc"), tool) as archive:
        yield archive


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory, archive: Orthanc) -> Iterator[NodeProcess]:
    settings = {
        "receive": {"allow": [{"ae_title": "SCANNER", "addresses": ["127.0.0.1/32"]}]},
        "completeness": [{"quiet_seconds": 2}],
        "targets": {
            "by_c_store": {
                "kind": "c-store",
                "ae_title": "ORTHANC",
                "host": "127.0.0.1",
                "port": archive.dicom_port,
                "commitment": False,
            },
            "by_stow": {"kind": "stow-rs", "url": f"{archive.http}/dicom-web"},
        },
        "routes": [
            {
                "name": "diffusion",
                "when": {
                    "all": [
                        {"recognised": "diffusion"},
                        {"series": {"Manufacturer": {"matches": "GE"}}},
                        {"calling_ae": ["SCANNER"]},
                    ]
                },
                "pipelines": ["diffusion"],
                "targets": ["by_c_store", "by_stow"],
            }
        ],
    }
    node = NodeProcess(tmp_path_factory.mktemp("site"), settings, results={"summary": False})
    node.start()
    yield node
    if node.running:
        node.kill()


@pytest.fixture(scope="module")
def series(shared_data: Callable[[str], Path]) -> list[Path]:
    """A real diffusion series."""
    return sorted((shared_data("dwi_ge_phantom") / "dicom" / "02_Ax_DWI_TENSOR_R3").iterdir())


def test_a_real_series_comes_back_as_maps_in_the_archive(
    node: NodeProcess, archive: Orthanc, series: list[Path], tool: Tool, tmp_path: Path
) -> None:
    assert storescu(tool("storescu"), node.port, series) == 0
    ledger = node.ledger()
    (job,) = ended_jobs(ledger, 1, seconds=240)
    assert (job.state, job.failure) == (JobState.DONE, "")
    assert (job.rule, job.objects) == ("diffusion", len(series))
    sent = history.deliveries(ledger, job.id)
    assert {delivery.state for delivery in sent} == {DeliveryState.DELIVERED}
    assert {delivery.target for delivery in sent} == {"by_c_store", "by_stow"}
    expected = {delivery.sop_instance_uid for delivery in sent}
    # Both ways brought the same objects: each is there once.
    assert len(sent) == 2 * len(expected)
    assert set(archive.qido(job.study_instance_uid)) == expected
    assert c_find(tool, archive, job.study_instance_uid, tmp_path) == expected
    names = {step.name for step in history.steps(ledger, job.id)}
    assert names > {"stage", "load", "diffusion", "write_parametric_maps"}


def c_find(tool: Tool, archive: Orthanc, study: str, folder: Path) -> set[str]:
    """SOP Instance UIDs of a study, by DCMTK's C-FIND at the levels of series and image."""

    def ask(*keys: str) -> list[pydicom.Dataset]:
        answers = folder / f"answers{len(list(folder.iterdir()))}"
        answers.mkdir()
        command = [tool("findscu"), "-S", "-aec", "ORTHANC", "-X", "-od", str(answers)]
        for key in keys:
            command += ["-k", key]
        command += ["127.0.0.1", str(archive.dicom_port)]
        subprocess.run(command, check=True, capture_output=True, timeout=60)
        return [pydicom.dcmread(path, force=True) for path in sorted(answers.iterdir())]

    found = set()
    one = f"StudyInstanceUID={study}"
    for answer in ask("QueryRetrieveLevel=SERIES", one, "SeriesInstanceUID"):
        images = ask(
            "QueryRetrieveLevel=IMAGE",
            one,
            f"SeriesInstanceUID={answer.SeriesInstanceUID}",
            "SOPInstanceUID",
        )
        found |= {str(image.SOPInstanceUID) for image in images}
    return found


def test_the_log_names_no_patient(node: NodeProcess, series: list[Path]) -> None:
    text = node.log.read_text()
    head = pydicom.dcmread(series[0], stop_before_pixels=True)
    secrets = [head.StudyInstanceUID, head.SeriesInstanceUID, head.SOPInstanceUID]
    secrets += [str(head.get(name, "")) for name in ("PatientName", "PatientID")]
    for secret in filter(None, map(str, secrets)):
        assert secret not in text


def test_a_sender_that_is_not_listed_is_refused(
    node: NodeProcess, series: list[Path], tool: Tool
) -> None:
    assert storescu(tool("storescu"), node.port, series[:1], calling_ae="STRANGER") != 0


def test_it_ends_when_it_is_told_to(node: NodeProcess) -> None:
    assert node.terminate() == 0
    assert node.messages("node ended")
