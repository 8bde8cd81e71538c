"""A PostgreSQL cluster of our own, on a free port, for as long as a test needs it."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.node.node_process import free_port

PROGRAMS = Path("/usr/lib/postgresql/15/bin")
_USER = "postgres"


class Cluster:
    """A PostgreSQL cluster that runs, or is away for a while.

    Args:
        folder: of its own, for the user that it runs as.
        addresses: that it listens on, separated by commas.
        trusted: network from which the user ``quantmap`` needs no password.
    """

    def __init__(self, folder: Path, addresses: str, trusted: str) -> None:
        self.port = free_port()
        self._folder = folder
        self._data = folder / "data"
        self._is_running = False
        self._become: list[str] = []
        # PostgreSQL refuses to run as root, and another user cannot enter pytest's folders.
        if os.geteuid() == 0:
            shutil.chown(folder, _USER, _USER)
            self._become = ["setpriv", "--reuid", _USER, "--regid", _USER, "--clear-groups"]
        self._options = f"-p {self.port} -k {folder} -c listen_addresses={addresses} -c fsync=off"
        initdb = [PROGRAMS / "initdb", "-D", self._data, "-U", "quantmap", "-A", "trust"]
        self._run(*initdb, "-E", "UTF8", "--no-sync", "--no-locale")
        with (self._data / "pg_hba.conf").open("a") as rules:
            rules.write(f"host all quantmap {trusted} trust\n")

    def start(self) -> None:
        """Take connections."""
        log = self._folder / "log"
        self._run(*self._control, "-l", log, "-o", self._options, "-w", "start")
        self._is_running = True

    def stop(self) -> None:
        """Cut every connection, as a machine that loses its power does."""
        if self._is_running:
            self._run(*self._control, "-m", "immediate", "-w", "stop")
        self._is_running = False

    @property
    def _control(self) -> list[object]:
        return [PROGRAMS / "pg_ctl", "-D", self._data]

    def _run(self, *command: object) -> None:
        words = [*self._become, *map(str, command)]
        done = subprocess.run(words, capture_output=True, text=True, cwd="/", check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@contextlib.contextmanager
def cluster(addresses: str = "127.0.0.1", trusted: str = "127.0.0.0/8") -> Iterator[Cluster]:
    """Start a cluster; arguments as of :class:`Cluster`."""
    folder = Path(tempfile.mkdtemp(prefix="quantmap-postgres-"))
    try:
        found = Cluster(folder, addresses, trusted)
        found.start()
        try:
            yield found
        finally:
            found.stop()
    finally:
        for _ in range(10):
            shutil.rmtree(folder, ignore_errors=True)
            if not folder.exists():
                break
            time.sleep(0.1)


def new_database(port: int, name: str, host: str = "127.0.0.1") -> str:
    """Make a database; returns its address."""
    subprocess.run(
        [PROGRAMS / "createdb", "-h", host, "-p", str(port), "-U", "quantmap", name],
        check=True,
        capture_output=True,
    )
    return f"postgresql://quantmap@{host}:{port}/{name}"
