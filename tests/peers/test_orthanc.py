"""A real archive on loopback takes every written object and finds it again."""

from __future__ import annotations

import io
import json
import socket
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from operators.results.settings import ResultsSettings
from operators.results.write_results import write_results
from operators.vocabulary.run import WrittenObject
from tests.operators.results.made_results import STUDY_UID, made_result

Tool = Callable[[str], str]
PLUGINS = Path("/usr/share/orthanc/plugins")
START_SECONDS = 60


@dataclass(frozen=True)
class Archive:
    """A running Orthanc."""

    http: str
    dicom_port: int

    def get(self, path: str) -> bytes:
        request = urllib.request.Request(self.http + path, headers={"Accept": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.read()

    def found(self) -> dict[str, str]:
        """SOP Class UID of every SOP Instance UID of the study, by QIDO-RS."""
        answer = self.get(f"/dicom-web/studies/{STUDY_UID}/instances?includefield=00080016")
        items = json.loads(answer)
        return {item["00080018"]["Value"][0]: item["00080016"]["Value"][0] for item in items}

    def clear(self) -> None:
        for study in json.loads(self.get("/studies")):
            request = urllib.request.Request(f"{self.http}/studies/{study}", method="DELETE")
            urllib.request.urlopen(request, timeout=30).close()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture(scope="module")
def archive(tool: Tool, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    orthanc = tool("Orthanc")
    # Where the plug-in is absent, asking for it as a tool says so in the usual way.
    plugins = sorted(PLUGINS.glob("*DicomWeb*.so")) or [Path(tool("libOrthancDicomWeb.so"))]
    folder = tmp_path_factory.mktemp("orthanc")
    http_port, dicom_port = free_port(), free_port()
    configuration = {
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "Plugins": [str(plugin) for plugin in plugins],
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "HttpPort": http_port,
        "DicomPort": dicom_port,
        "DicomAlwaysAllowMove": True,
        "DicomAlwaysAllowGet": True,
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    (folder / "orthanc.json").write_text(json.dumps(configuration))
    archive = Archive(f"http://127.0.0.1:{http_port}", dicom_port)
    with (folder / "log.txt").open("w") as log:
        process = subprocess.Popen(
            [orthanc, str(folder / "orthanc.json")], stdout=log, stderr=subprocess.STDOUT
        )
        try:
            wait_until_it_answers(archive, process, folder / "log.txt")
            yield archive
        finally:
            process.terminate()
            process.wait(timeout=30)


def wait_until_it_answers(archive: Archive, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            archive.get("/dicom-web/studies")
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)
        else:
            return
    pytest.fail(f"Orthanc did not start: {log.read_text()[-2000:]}")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Path, WrittenObject]]:
    folder = tmp_path_factory.mktemp("results")
    results = [
        made_result("oblique", names=("mean_diffusivity", "b0_shift")),
        made_result("single", pipeline="cest_mt", names=("t1",), series_number=6),
    ]
    entries = write_results(results, folder, ResultsSettings(), datetime(2026, 1, 2, 3, 4, 5))
    return [(folder / entry.path, entry) for entry in entries if entry.sop_instance_uid]


def sent_by_c_store(archive: Archive, paths: list[Path], tool: Tool) -> None:
    # -R proposes only what is sent; the default list lacks Parametric Map.
    command = [tool("storescu"), "-R", "-aec", "ORTHANC", "127.0.0.1", str(archive.dicom_port)]
    run = subprocess.run([*command, *map(str, paths)], capture_output=True, check=False)
    assert run.returncode == 0, run.stderr.decode(errors="replace")[-2000:]


def sent_by_stow(archive: Archive, paths: list[Path]) -> dict:
    boundary = uuid.uuid4().hex
    part = f"\r\n--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    body = b"".join(part + path.read_bytes() for path in paths) + f"\r\n--{boundary}--".encode()
    kind = f'multipart/related; type="application/dicom"; boundary={boundary}'
    request = urllib.request.Request(
        f"{archive.http}/dicom-web/studies",
        data=body.lstrip(),
        headers={"Content-Type": kind, "Accept": "application/dicom+json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read())


@pytest.mark.parametrize("service", ["C-STORE", "STOW-RS"])
def test_every_object_is_taken_and_found(
    service: str, archive: Archive, written: list[tuple[Path, WrittenObject]], tool: Tool
) -> None:
    archive.clear()
    paths = [path for path, _ in written]
    if service == "C-STORE":
        sent_by_c_store(archive, paths, tool)
    else:
        answer = sent_by_stow(archive, paths)
        assert answer.get("00081198", {}).get("Value", []) == [], "no failed instances"
        assert len(answer["00081199"]["Value"]) == len(paths)
    assert archive.found() == {e.sop_instance_uid: e.sop_class_uid for _, e in written}


def test_a_second_delivery_duplicates_nothing(
    archive: Archive, written: list[tuple[Path, WrittenObject]], tool: Tool
) -> None:
    archive.clear()
    paths = [path for path, _ in written]
    sent_by_c_store(archive, paths, tool)
    sent_by_stow(archive, paths)
    assert len(archive.found()) == len(paths)
    assert len(json.loads(archive.get("/series"))) == len(
        {e.series_instance_uid for _, e in written}
    )


def test_a_map_comes_back_unchanged(
    archive: Archive, written: list[tuple[Path, WrittenObject]], tool: Tool
) -> None:
    archive.clear()
    (path, entry), *_ = [item for item in written if item[1].kind == "parametric map"]
    sent_by_c_store(archive, [path], tool)
    (identifier,) = json.loads(archive.get("/instances"))
    back = dcmread(io.BytesIO(archive.get(f"/instances/{identifier}/file")))
    sent = dcmread(path)
    assert back.SOPInstanceUID == entry.sop_instance_uid
    np.testing.assert_array_equal(
        np.frombuffer(back.FloatPixelData, "<f4"), np.frombuffer(sent.FloatPixelData, "<f4")
    )
    assert back == sent
