"""What the node costs: from the last object to the worker, at rest, and with a long history."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx

from app.node import history
from benchmarks.table import Row, print_table
from tests.node.node_process import NodeProcess, children
from tests.node.page_history import ACCESSION, DONE_JOB, fill
from tests.node.peers import send
from tests.node.studies import study_uid, write_study

_QUIET_SECONDS = 2.0
_HISTORY = 10_000
_REQUESTS = 5
_PAGES = ("/", "/jobs", f"/jobs?search={ACCESSION}", "/jobs?state=failed", f"/jobs/{DONE_JOB}")


def run() -> list[Row]:
    """Rows of which the peer is a bound."""
    with tempfile.TemporaryDirectory() as folder:
        node = NodeProcess(
            Path(folder),
            {
                "name": "benchmark",
                "completeness": [{"quiet_seconds": _QUIET_SECONDS}],
                "page": {"port": 0},
                "routes": [{"name": "all", "pipelines": ["diffusion"]}],
            },
        )
        node.start()
        try:
            return list(_measured(node, Path(folder)))
        finally:
            node.kill()


def _measured(node: NodeProcess, folder: Path) -> Iterator[Row]:
    time.sleep(10)  # for what it does at its start to settle
    memory = proportional_bytes(node.pid) / 1e9
    yield Row("idle memory of all processes (GB instead of s)", memory, "bound", 0.4)
    yield Row(
        "last object to worker process, beyond the quiet time", _overhead(node, folder), "bound", 1
    )
    fill(node.ledger(), folder / "node" / "results", more_jobs=_HISTORY)
    page = node.messages("node ready")[-1]["page"]
    with httpx.Client(base_url=f"http://127.0.0.1:{page}", timeout=60) as client:
        for path in _PAGES:
            client.get(path).raise_for_status()
            times = []
            for _ in range(_REQUESTS):
                begun = time.perf_counter()
                client.get(path)
                times.append(time.perf_counter() - begun)
            shown = path.replace(DONE_JOB, "JOB").replace(ACCESSION, "NUMBER")
            yield Row(f"page {shown} with {_HISTORY:,} jobs, slowest", max(times), "bound", 0.2)


def _overhead(node: NodeProcess, folder: Path) -> float:
    files = write_study(folder / "study", 1)
    send(node.port, files)
    while node.worker() is None:
        time.sleep(0.002)
    started = time.time()
    collection = history.collection(node.ledger(), study_uid(1))
    assert collection is not None
    return started - collection.last_received - _QUIET_SECONDS


def proportional_bytes(pid: int) -> int:
    """Memory of a process and all below it, shared pages counted once."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    kilobytes = next(int(line.split()[1]) for line in rollup if line.startswith("Pss:"))
    return kilobytes * 1024 + sum(map(proportional_bytes, children(pid)))


if __name__ == "__main__":
    print_table(run())
