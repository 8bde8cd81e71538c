"""The node as its users start it, and what stands in its ledger."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from app.node import history
from app.node.ledger import Ledger, sqlite_url
from app.node.records import ENDED, JobState, NodeJob

ROOT = Path(__file__).resolve().parents[2]
FEW_OBJECTS = {
    "viewer_images": False,
    "colour_maps": False,
    "segmentation": False,
    "measurement_report": False,
    "summary": False,
}
"""For ``results``: only Parametric Maps, which are written fast."""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class NodeProcess:
    """A node in a folder of its own, started and killed as often as a test likes.

    Args:
        folder: of the node and its configuration.
        node: section ``node``, laid over what every test needs.
        results: section ``results``.
        environment: in addition to that of this process.
        before: command that the node's command is given to (``ip netns exec NAME``).
    """

    def __init__(
        self,
        folder: Path,
        node: Mapping[str, Any],
        *,
        results: Mapping[str, Any] | None = None,
        environment: Mapping[str, str] | None = None,
        before: Iterable[str] = (),
    ) -> None:
        self.folder = folder / "node"
        self.port = free_port()
        self.log = folder / "log.txt"
        self._config = folder / "site.yaml"
        self._environment = os.environ | dict(environment or {})
        self._before = list(before)
        self._process: subprocess.Popen[bytes] | None = None
        receive = {
            "port": self.port,
            "allow": [{"ae_title": "*", "addresses": ["127.0.0.0/8"]}],
            "smallest_free_bytes": 0,
            "smallest_free_fraction": 0,
        }
        section = {"folder": str(self.folder)} | dict(node)
        section.setdefault("page", {"enabled": False})
        section["receive"] = receive | dict(node.get("receive", {}))
        folder.mkdir(parents=True, exist_ok=True)
        settings = {"node": section, "results": dict(results or FEW_OBJECTS), "device": "cpu"}
        self._config.write_text(yaml.safe_dump(settings))

    @property
    def command(self) -> list[str]:
        """What starts it."""
        command = [sys.executable, "-m", "app.node", "--config", str(self._config)]
        return [*self._before, *command]

    def launch(self) -> None:
        """Start it, and do not wait."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command,
                cwd=ROOT,
                env=self._environment,
                stdout=log,
                stderr=log,
            )

    def start(self, seconds: float = 60) -> None:
        """Start it, unless it runs, and wait until it receives.

        Again where it ends, as a service manager would: the port may not be free yet.
        """
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if not self.running:
                self.launch()
            if any(line.get("pid") == self.pid for line in self.messages("node ready")):
                return
            time.sleep(0.05)
        self.kill()
        raise AssertionError(f"the node did not start: {self.log.read_text()[-3000:]}")

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """``kill -9``."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def terminate(self, seconds: float = 90) -> int:
        """SIGTERM; returns the exit status."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(seconds)

    def worker(self) -> int | None:
        """Process id of its worker, where there is one."""
        for child in children(self.pid):
            with contextlib.suppress(OSError):
                if b"app.worker" in Path(f"/proc/{child}/cmdline").read_bytes():
                    return child
        return None

    def lines(self) -> list[dict[str, Any]]:
        """What it logged."""
        if not self.log.exists():
            return []
        found = []
        for line in self.log.read_text(errors="replace").splitlines():
            with contextlib.suppress(json.JSONDecodeError):
                found.append(json.loads(line))
        return [line for line in found if isinstance(line, dict)]

    def messages(self, text: str) -> list[dict[str, Any]]:
        """Lines of the log whose message begins with ``text``."""
        return [line for line in self.lines() if str(line.get("message", "")).startswith(text)]

    def ledger(self) -> Ledger:
        """Its ledger, opened beside it."""
        return Ledger(sqlite_url(self.folder / "ledger.sqlite"))


def children(pid: int) -> list[int]:
    """Processes that any thread of a process started."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):
                found += map(int, (task / "children").read_text().split())
    return found


def wait_for(what: Callable[[], bool], seconds: float, otherwise: Callable[[], object]) -> None:
    """Wait until ``what`` holds; fails with ``otherwise`` after some time."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, otherwise()
        time.sleep(0.1)


def ended_jobs(ledger: Ledger, number: int, seconds: float = 120) -> list[NodeJob]:
    """Wait until there are ``number`` jobs and all of them have ended."""

    def done() -> bool:
        found = history.jobs(ledger, limit=1000)
        return len(found) >= number and all(job.state in ENDED for job in found)

    wait_for(done, seconds, lambda: states(ledger))
    return history.jobs(ledger, limit=1000)


def states(ledger: Ledger) -> dict[str, tuple[JobState, str]]:
    """State and reason of every job."""
    return {job.id: (job.state, job.failure) for job in history.jobs(ledger, limit=1000)}
