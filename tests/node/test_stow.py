"""STOW-RS over real HTTP: the promises of C-STORE, and answers for each instance."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import httpx
import psutil
import pytest
import uvicorn
from fastapi import FastAPI
from pydicom import dcmread
from pydicom.dataset import Dataset

from app.node.arrival import Arrival
from app.node.deliver.delivery import deliver
from app.node.deliver.outcome import OutcomeState
from app.node.deliver.settings import StowTarget
from app.node.receive.settings import ReceiveSettings
from app.node.receive.stow import stow_router
from app.node.spool import Spool
from tests.node.node_process import free_port
from tests.node.receiving import SECONDS, mr_image, wait_until, written

TOKEN = "a token of this test"
STORED, FAILED, OTHER = "00081199", "00081198", "0008119A"


class Server:
    """A STOW-RS server in a thread."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.spool = Spool(folder)
        self.arrivals: list[Arrival] = []
        free = {"smallest_free_bytes": 0, "smallest_free_fraction": 0.0, "stow_token": TOKEN}
        application = FastAPI()
        receive = ReceiveSettings(**(free | settings))
        application.include_router(stow_router(self.spool, receive, self.arrivals.extend))
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/dicom-web"
        configuration = uvicorn.Config(application, port=self.port, log_level="error")
        self._server = uvicorn.Server(configuration)
        self._thread = threading.Thread(target=self._server.run, daemon=True)

    def __enter__(self) -> Server:
        self._thread.start()
        wait_until(lambda: self._server.started)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(SECONDS)

    def post(self, bodies: Sequence[bytes], path: str = "/studies", **more: Any) -> httpx.Response:
        parts = b"".join(
            b"--line\r\nContent-Type: application/dicom\r\n\r\n" + body + b"\r\n" for body in bodies
        )
        return self.send(parts + b"--line--\r\n", path, **more)

    def send(
        self,
        body: Any,
        path: str = "/studies",
        kind: str = 'multipart/related; type="application/dicom"; boundary=line',
        **headers: str,
    ) -> httpx.Response:
        standard = {"Content-Type": kind, "Authorization": f"Bearer {TOKEN}"}
        return httpx.post(
            self.url + path, content=body, headers=standard | headers, timeout=SECONDS
        )


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("stow") / "spool", stalled_seconds=2.0) as running:
        yield running


@pytest.fixture
def images() -> list[Dataset]:
    return [mr_image() for _ in range(3)]


@pytest.fixture
def paths(images: list[Dataset], tmp_path: Path) -> list[Path]:
    return written(tmp_path / "images", images)


def instances(answer: httpx.Response, tag: str) -> list[str]:
    items = answer.json().get(tag, {}).get("Value", [])
    return [item["00081155"]["Value"][0] for item in items]


def test_objects_are_on_disk_when_success_is_said(
    server: Server, images: list[Dataset], paths: list[Path]
) -> None:
    answer = server.post([path.read_bytes() for path in paths])
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/dicom+json"
    uids = [image.SOPInstanceUID for image in images]
    assert instances(answer, STORED) == uids
    arrivals = {one.sop_instance_uid: one for one in server.arrivals}
    for image in images:
        arrival = arrivals[image.SOPInstanceUID]
        assert dcmread(arrival.path) == image
        assert (arrival.transport, arrival.peer_address) == ("stow", "127.0.0.1")


def test_our_own_client_is_understood(server: Server, paths: list[Path]) -> None:
    outcomes = deliver(StowTarget(url=server.url, token=TOKEN), paths)
    assert {outcome.state for outcome in outcomes} == {OutcomeState.DELIVERED}
    outcomes = deliver(StowTarget(url=server.url, token="wrong"), paths)
    assert {outcome.state for outcome in outcomes} == {OutcomeState.TRANSIENT}


def test_each_instance_has_its_own_answer(
    server: Server, images: list[Dataset], paths: list[Path]
) -> None:
    lying = paths[1].read_bytes()
    at = lying.rindex(images[1].SOPInstanceUID.encode())
    lying = lying[: at + 5] + b"9" + lying[at + 6 :]
    answer = server.post([paths[0].read_bytes(), lying, b"not DICOM", paths[2].read_bytes()])
    assert answer.status_code == 202
    assert instances(answer, STORED) == [images[0].SOPInstanceUID, images[2].SOPInstanceUID]
    (failed,) = answer.json()[FAILED]["Value"]
    assert failed["00081197"]["Value"] == [0xA900]
    (other,) = answer.json()[OTHER]["Value"]
    assert other["00081197"]["Value"] == [0xC000]


def test_the_answer_can_be_xml(server: Server, images: list[Dataset], paths: list[Path]) -> None:
    answer = server.post([paths[0].read_bytes()], Accept="application/dicom+xml")
    root = ElementTree.fromstring(answer.content)
    values = {
        attribute.get("keyword"): attribute.findtext("Value")
        for attribute in root.iter("DicomAttribute")
    }
    assert values["ReferencedSOPInstanceUID"] == images[0].SOPInstanceUID
    assert "ReferencedSOPSequence" in values


def test_a_study_in_the_address_must_be_the_objects(
    server: Server, images: list[Dataset], paths: list[Path]
) -> None:
    bodies = [path.read_bytes() for path in paths[:2]]
    answer = server.post(bodies, f"/studies/{images[0].StudyInstanceUID}")
    assert answer.status_code == 202
    assert instances(answer, STORED) == [images[0].SOPInstanceUID]
    assert server.post(bodies[1:], "/studies/1.2.3").status_code == 409
    assert server.post(bodies, "/studies/..%2f..%2fetc").status_code in (400, 404)


@pytest.mark.parametrize("authorization", ["", "Bearer wrong", f"Basic {TOKEN}", "Bearer é"])
def test_without_the_token_nothing_is_read(
    server: Server, paths: list[Path], authorization: str
) -> None:
    before = len(server.arrivals)
    answer = server.post([paths[0].read_bytes()], Authorization=authorization.encode())
    assert answer.status_code == 401
    assert len(server.arrivals) == before


def test_without_a_token_in_the_settings_there_is_no_stow(tmp_path: Path) -> None:
    with Server(tmp_path, stow_token=None) as server:
        assert server.post([b""]).status_code == 404


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/json", b"{}"),
        ("multipart/related", b"--line--"),
        ("multipart/related; boundary=line", b"nothing of the kind"),
        ("multipart/related; boundary=line", b"--line\r\n\r\nno end"),
        ("multipart/related; boundary=" + "x" * 200, b"--line--"),
        ('multipart/related; type="application/json"; boundary=line', b"--line--"),
        ("multipart/related; boundary=line", b"--line\r\n" + b"X: y\r\n" * 10_000),
        ("multipart/related; boundary=line", b"--line\r\nX: " + b"y" * 1_000_000),
    ],
)
def test_bodies_that_are_not_what_they_should_be(server: Server, kind: str, body: bytes) -> None:
    assert server.send(body, kind=kind).status_code == 400
    assert not list((server.spool.folder / "incoming").iterdir())


def test_every_malformed_file(
    server: Server, shared_data: Callable[[str], Path], paths: list[Path]
) -> None:
    files = [path for path in shared_data("malformed_dicom").rglob("*") if path.is_file()]
    statuses = set()
    for path in sorted(files):
        answer = server.post([path.read_bytes()])
        statuses.add(answer.status_code)
        for tag in (FAILED, OTHER):
            for item in answer.json().get(tag, {}).get("Value", []):
                assert item["00081197"]["Value"][0] in (0xA900, 0xC000, 0xC122, 0x0122)
    assert statuses <= {200, 409}
    assert 409 in statuses
    assert server.post([paths[0].read_bytes()]).status_code == 200


def test_a_large_object_is_not_held_in_memory(server: Server, tmp_path: Path) -> None:
    image = mr_image(PixelData=os.urandom(150_000_000))
    (path,) = written(tmp_path, [image])
    del image
    process = psutil.Process()
    before, peak = process.memory_info().rss, 0

    def body() -> Iterator[bytes]:
        nonlocal peak
        yield b"--line\r\nContent-Type: application/dicom\r\n\r\n"
        with path.open("rb") as file:
            while chunk := file.read(1_000_000):
                peak = max(peak, process.memory_info().rss)
                yield chunk
        yield b"\r\n--line--\r\n"

    assert server.send(body()).status_code == 200
    assert peak - before < 60_000_000


def test_an_object_that_is_too_large_is_refused(tmp_path: Path, paths: list[Path]) -> None:
    with Server(tmp_path / "spool", largest_object=200) as server:
        answer = server.post([paths[0].read_bytes()])
        assert answer.status_code == 409
        assert answer.json()[FAILED]["Value"][0]["00081197"]["Value"] == [0xA700]


def test_a_full_disk_is_said_before_anything_is_read(tmp_path: Path, paths: list[Path]) -> None:
    with Server(tmp_path / "spool", smallest_free_bytes=1 << 60) as server:
        answer = server.post([paths[0].read_bytes()])
        assert answer.status_code == 503
        assert "retry-after" in answer.headers


def test_a_client_that_stops_is_given_up_and_leaves_nothing(
    server: Server, paths: list[Path]
) -> None:
    released = threading.Event()

    def body() -> Iterator[bytes]:
        yield b"--line\r\nContent-Type: application/dicom\r\n\r\n"
        yield paths[0].read_bytes()[:600]
        released.wait(20)
        yield b"the rest"

    def stop() -> None:
        try:
            server.send(body())
        except httpx.HTTPError:
            return

    client = threading.Thread(target=stop)
    client.start()
    before = len(server.arrivals)
    assert server.post([paths[1].read_bytes()]).status_code == 200
    wait_until(lambda: not list((server.spool.folder / "incoming").iterdir()))
    released.set()
    client.join(SECONDS)
    assert len(server.arrivals) == before + 1
