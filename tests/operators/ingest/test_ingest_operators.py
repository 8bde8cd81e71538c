"""The two operators in a running graph, and what importing the wing costs."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[3]

GRAPH = """
import sys
from pathlib import Path
from monai.deploy.conditions import CountCondition
from monai.deploy.core import AppContext, Application, Operator
from operators.ingest.acquisition_operator import AcquisitionOperator
from operators.ingest.study_loader_operator import StudyLoaderOperator


class Show(Operator):
    def setup(self, spec):
        spec.input("acquired")

    def compute(self, op_input, op_output, context):
        study = op_input.receive("acquired")
        for acquisition in study.acquisitions:
            array = acquisition.volume().array
            print(acquisition.kind, array.shape, float(array.sum()))
        print(len(study.refusals), "refused", len(study.skipped), "skipped")


class Graph(Application):
    def compose(self):
        load = StudyLoaderOperator(
            self, CountCondition(self, 1), input_folder=Path(sys.argv[1]), name="load"
        )
        acquire = AcquisitionOperator(self, name="acquire")
        show = Show(self, name="show")
        self.add_flow(load, acquire, {("study", "study")})
        self.add_flow(acquire, show, {("acquired", "acquired")})

    def __init__(self):
        places = dict.fromkeys(("input", "output", "model", "workdir"), sys.argv[1])
        self.context = AppContext(places)
        super().__init__([sys.executable])


Graph().run()
"""


def run(*arguments):
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=120
    )


@pytest.mark.parametrize("empty", [False, True])
def test_the_operators_always_emit(write, volumes, tmp_path, empty):
    values = volumes(volumes=2)
    folder = tmp_path if empty else write(values, per_volume=[{"EchoTime": 1}, {"EchoTime": 2}])
    (tmp_path / "notes.txt").write_text("nothing")
    ran = run("-c", GRAPH, str(folder))
    assert ran.returncode == 0, ran.stderr
    lines = ran.stdout.splitlines()
    assert "0 refused 1 skipped" in lines
    expected = f"weighted image {values.shape} {np.float32(values.sum()):.1f}"
    assert (expected in lines) is not empty


def test_inspecting_needs_no_heavy_import():
    heavy = "{'monai', 'torch', 'onnxruntime', 'matplotlib', 'pypulseq', 'scipy'}"
    ran = run("-c", f"import sys, operators.ingest.acquire; print({heavy} & set(sys.modules))")
    assert ran.stdout.strip() == "set()", ran.stdout + ran.stderr
