"""How long until the first operator runs: the application beside the bare App SDK."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

import numpy as np

from app.demo.mr_series import write_mr_series
from benchmarks.table import Row

_ROUNDS = 3
_BARE = """
import sys, time
from monai.deploy.conditions import CountCondition
from monai.deploy.core import Application, Operator
class First(Operator):
    def compute(self, op_input, op_output, context):
        print("first operator", time.time(), flush=True)
class Bare(Application):
    def compose(self):
        self.add_operator(First(self, CountCondition(self, 1), name="first"))
Bare([sys.executable]).run()
"""


def run() -> list[Row]:
    """Best of three rounds each, in turn."""
    with tempfile.TemporaryDirectory() as folder:
        study = Path(folder) / "study"
        write_mr_series(study, np.ones((4, 8, 8)), np.eye(4), uid_prefix="1.2.3", common={})
        rounds = [(_ours(study, Path(folder) / "out"), _bare()) for _ in range(_ROUNDS)]
    ours, theirs = (min(times) for times in zip(*rounds, strict=True))
    return [Row("start to first operator", ours, "bare App SDK 4.0.0, one operator", theirs)]


def _ours(study: Path, output: Path) -> float:
    begun = time.time()
    process = subprocess.run(
        [sys.executable, "-m", "app", "-i", study, "-o", output],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        check=False,
    )
    for line in map(json.loads, process.stderr.splitlines()):
        if line.get("step") == "load":
            return datetime.fromisoformat(line["time"]).timestamp() - begun
    raise RuntimeError("the application ended before its first operator")


def _bare() -> float:
    begun = time.time()
    process = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _BARE], capture_output=True, text=True, check=True
    )
    told = next(line for line in process.stdout.splitlines() if line.startswith("first operator"))
    return float(told.split()[-1]) - begun
