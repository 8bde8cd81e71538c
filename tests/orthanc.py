"""Orthanc as the archive: on free ports of loopback, for as long as a test needs it."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.node.node_process import free_port

_PLUGINS = Path("/usr/share/orthanc/plugins")
_START_SECONDS = 90


@dataclass(frozen=True)
class Orthanc:
    """A running Orthanc."""

    http: str
    dicom_port: int

    def get(self, path: str) -> bytes:
        """What stands at a path of its own interface or of DICOMweb."""
        request = urllib.request.Request(self.http + path, headers={"Accept": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return bytes(answer.read())

    def qido(self, study: str) -> dict[str, str]:
        """SOP Class UID of every SOP Instance UID of a study, by QIDO-RS."""
        body = self.get(f"/dicom-web/studies/{study}/instances?includefield=00080016")
        items = json.loads(body) if body else []
        return {item["00080018"]["Value"][0]: item["00080016"]["Value"][0] for item in items}

    def clear(self) -> None:
        """Delete every study."""
        for study in json.loads(self.get("/studies")):
            request = urllib.request.Request(f"{self.http}/studies/{study}", method="DELETE")
            urllib.request.urlopen(request, timeout=30).close()


@contextmanager
def orthanc(folder: Path, tool: Callable[[str], str], **settings: Any) -> Iterator[Orthanc]:
    """Start Orthanc with its DICOMweb plug-in.

    Args:
        folder: for what it writes; made where it is missing.
        tool: finds a program.
        settings: of Orthanc, laid over what every test needs.
    """
    program = tool("Orthanc")
    # Where the plug-in is absent, asking for it as a tool says so in the usual way.
    plugins = sorted(_PLUGINS.glob("*DicomWeb*.so")) or [Path(tool("libOrthancDicomWeb.so"))]
    archive = Orthanc(f"http://127.0.0.1:{free_port()}", free_port())
    configuration = {
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "Plugins": [str(plugin) for plugin in plugins],
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "HttpPort": int(archive.http.rpartition(":")[2]),
        "DicomPort": archive.dicom_port,
        "DicomAet": "ORTHANC",
        "DicomAlwaysAllowFind": True,
        "DicomAlwaysAllowMove": True,
        "DicomAlwaysAllowGet": True,
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        **settings,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "orthanc.json").write_text(json.dumps(configuration))
    with (folder / "log.txt").open("w") as log:
        process = subprocess.Popen(
            [program, str(folder / "orthanc.json")], stdout=log, stderr=subprocess.STDOUT
        )
        try:
            _wait(archive, process, folder / "log.txt")
            yield archive
        finally:
            process.terminate()
            process.wait(30)


def _wait(archive: Orthanc, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            archive.qido("1.2.3")
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)
        else:
            return
    raise AssertionError(f"Orthanc did not start: {log.read_text()[-2000:]}")
