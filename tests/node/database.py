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


@contextlib.contextmanager
def cluster(addresses: str = "127.0.0.1", trusted: str = "127.0.0.0/8") -> Iterator[int]:
    """Start a cluster; gives its port.

    Args:
        addresses: that it listens on, separated by commas.
        trusted: network from which the user ``quantmap`` needs no password.
    """
    # PostgreSQL refuses to run as root, and another user cannot enter pytest's folders.
    folder = Path(tempfile.mkdtemp(prefix="quantmap-postgres-"))
    become: list[str] = []
    if os.geteuid() == 0:
        shutil.chown(folder, _USER, _USER)
        become = ["setpriv", "--reuid", _USER, "--regid", _USER, "--clear-groups"]
    port = free_port()
    data = folder / "data"

    def run(*command: object) -> None:
        done = subprocess.run(
            [*become, *map(str, command)], capture_output=True, text=True, cwd="/", check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr

    try:
        initdb = [PROGRAMS / "initdb", "-D", data, "-U", "quantmap", "-A", "trust", "-E", "UTF8"]
        run(*initdb, "--no-sync", "--no-locale")
        with (data / "pg_hba.conf").open("a") as rules:
            rules.write(f"host all quantmap {trusted} trust\n")
        options = f"-p {port} -k {folder} -c listen_addresses={addresses} -c fsync=off"
        run(PROGRAMS / "pg_ctl", "-D", data, "-l", folder / "log", "-o", options, "-w", "start")
        try:
            yield port
        finally:
            run(PROGRAMS / "pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
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
