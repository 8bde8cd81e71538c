"""Receiving 1,394 MR slices over one and four associations, sent by DCMTK's ``storescu``.

The node syncs every object before it answers success, Orthanc in its default configuration too;
DCMTK's ``storescp +B`` (bit preserving) syncs nothing and is the bound. All three write to the
same disk, in turns, because the speed of a disk changes from minute to minute; the median of
three turns is shown.

Senders and peers send without delay (``TCP_NODELAY``). Debian's DCMTK does not by default, and
then a sender waits 40 ms for every object of a receiver that puts its acknowledgements off, and a
receiver's answer as long for a sender's.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from app.node.receive.receiver import Receiver
from app.node.receive.settings import AllowedSender, ReceiveSettings
from app.node.spool import Spool
from benchmarks.ingest import write_slices
from benchmarks.peer_programs import peer_program
from benchmarks.table import Row, print_table

_TURNS = 3
_ASSOCIATIONS = (1, 4)
_START_SECONDS = 60.0
Server = Callable[[Path, int], AbstractContextManager[None]]


def run() -> list[Row]:
    """Time the node and its peers on the same files."""
    source = Path(os.environ.get("QUANTMAP_DATA", Path(__file__).parents[2] / "shared" / "data"))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, "series")
        write_slices(source / "dwi_philips_classic" / "dicom", folder)
        files = sorted(str(path) for path in folder.iterdir())
        servers: dict[str, Server] = {"ours": _node}
        if peer_program("Orthanc"):
            servers["Orthanc, default"] = _orthanc
        if peer_program("storescp"):
            servers["storescp +B, nothing synced"] = _storescp
        rows = []
        for associations in _ASSOCIATIONS:
            seconds: dict[str, list[float]] = {name: [] for name in servers}
            for turn in range(_TURNS):
                for name, server in servers.items():
                    place = Path(temporary, f"{associations}-{turn}-{len(name)}")
                    place.mkdir()
                    seconds[name].append(_seconds(server, place, files, associations))
                    shutil.rmtree(place)
            medians = {name: statistics.median(times) for name, times in seconds.items()}
            name = f"receiving {len(files)} slices, associations: {associations}"
            rows += [
                Row(name, medians["ours"], peer, medians[peer])
                for peer in servers
                if peer != "ours"
            ]
        return rows


def _seconds(server: Server, place: Path, files: list[str], associations: int) -> float:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = int(listener.getsockname()[1])
    sender = [_installed("storescu"), "-R", "-aec", "ANY", "127.0.0.1", str(port)]
    with server(place, port):
        start = time.perf_counter()
        senders = [
            subprocess.Popen(
                [*sender, *files[n::associations]],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env=_without_delay(),
            )
            for n in range(associations)
        ]
        for process in senders:
            _, errors = process.communicate()
            if process.returncode:
                raise RuntimeError(errors.decode(errors="replace")[-500:])
        return time.perf_counter() - start


@contextlib.contextmanager
def _node(place: Path, port: int) -> Iterator[None]:
    anyone = AllowedSender(ae_title="*", addresses=("127.0.0.0/8",))
    settings = ReceiveSettings(ae_titles=("ANY",), port=port, allow=(anyone,))
    receiver = Receiver(settings, Spool(place), lambda _: None)
    receiver.start()
    try:
        _wait_for_echo(port)
        yield
    finally:
        receiver.stop()


def _orthanc(place: Path, port: int) -> AbstractContextManager[None]:
    configuration = {
        "StorageDirectory": str(place),
        "IndexDirectory": str(place),
        "HttpServerEnabled": False,
        "DicomPort": port,
        "DicomAet": "ANY",
    }
    (place / "orthanc.json").write_text(json.dumps(configuration))
    return _process([_installed("Orthanc"), str(place / "orthanc.json")], port)


def _storescp(place: Path, port: int) -> AbstractContextManager[None]:
    return _process([_installed("storescp"), "--fork", "+B", "-od", str(place), str(port)], port)


@contextlib.contextmanager
def _process(command: list[str], port: int) -> Iterator[None]:
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, stdout=quiet, stderr=quiet, env=_without_delay())
    try:
        _wait_for_echo(port)
        yield
    finally:
        process.terminate()
        process.wait()


def _without_delay() -> dict[str, str]:
    return os.environ | {"TCP_NODELAY": "1"}


def _wait_for_echo(port: int) -> None:
    deadline = time.monotonic() + _START_SECONDS
    echo = [_installed("echoscu"), "-aec", "ANY", "127.0.0.1", str(port)]
    while subprocess.run(echo, capture_output=True, check=False).returncode:
        if time.monotonic() > deadline:
            raise TimeoutError("the receiver does not answer")
        time.sleep(0.1)


def _installed(name: str) -> str:
    found = peer_program(name)
    if found is None:
        raise FileNotFoundError(f"{name} is not installed (.ci/run installs it)")
    return found


if __name__ == "__main__":
    print_table(run())
