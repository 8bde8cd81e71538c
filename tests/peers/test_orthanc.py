"""A real archive on loopback takes every written object and finds it again."""

from __future__ import annotations

import io
import json
import subprocess
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from operators.results.settings import ResultsSettings
from operators.results.write_results import write_results
from operators.vocabulary.run import WrittenObject
from tests.operators.results.made_results import STUDY_UID, made_result
from tests.orthanc import Orthanc, orthanc

Tool = Callable[[str], str]


@pytest.fixture(scope="module")
def archive(tool: Tool, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    with orthanc(tmp_path_factory.mktemp("orthanc"), tool) as running:
        yield running


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Path, WrittenObject]]:
    folder = tmp_path_factory.mktemp("results")
    results = [
        made_result("oblique", names=("mean_diffusivity", "b0_shift")),
        made_result("single", pipeline="cest_mt", names=("t1",), series_number=6),
    ]
    entries = write_results(results, folder, ResultsSettings(), datetime(2026, 1, 2, 3, 4, 5))
    return [(folder / entry.path, entry) for entry in entries if entry.sop_instance_uid]


def sent_by_c_store(archive: Orthanc, paths: list[Path], tool: Tool) -> None:
    # -R proposes only what is sent; the default list lacks Parametric Map.
    command = [tool("storescu"), "-R", "-aec", "ORTHANC", "127.0.0.1", str(archive.dicom_port)]
    run = subprocess.run([*command, *map(str, paths)], capture_output=True, check=False)
    assert run.returncode == 0, run.stderr.decode(errors="replace")[-2000:]


def sent_by_stow(archive: Orthanc, paths: list[Path]) -> dict:
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
    service: str, archive: Orthanc, written: list[tuple[Path, WrittenObject]], tool: Tool
) -> None:
    archive.clear()
    paths = [path for path, _ in written]
    if service == "C-STORE":
        sent_by_c_store(archive, paths, tool)
    else:
        answer = sent_by_stow(archive, paths)
        assert answer.get("00081198", {}).get("Value", []) == [], "no failed instances"
        assert len(answer["00081199"]["Value"]) == len(paths)
    assert archive.qido(STUDY_UID) == {e.sop_instance_uid: e.sop_class_uid for _, e in written}


def test_a_second_delivery_duplicates_nothing(
    archive: Orthanc, written: list[tuple[Path, WrittenObject]], tool: Tool
) -> None:
    archive.clear()
    paths = [path for path, _ in written]
    sent_by_c_store(archive, paths, tool)
    sent_by_stow(archive, paths)
    assert len(archive.qido(STUDY_UID)) == len(paths)
    assert len(json.loads(archive.get("/series"))) == len(
        {e.series_instance_uid for _, e in written}
    )


def test_a_map_comes_back_unchanged(
    archive: Orthanc, written: list[tuple[Path, WrittenObject]], tool: Tool
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
