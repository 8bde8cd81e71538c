"""Settings refuse what they do not know; results state the version of the project."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from pydantic import ValidationError

from operators.inference.settings import CestMtSettings, DiffusionSettings
from operators.vocabulary.version import VERSION

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    ("model", "values"),
    [
        (DiffusionSettings, {"fitt": "weighted"}),
        (DiffusionSettings, {"fit": "nonlinear"}),
        (DiffusionSettings, {"minimum_signal": 0}),
        (CestMtSettings, {"t1_ms": 1000}),
        (CestMtSettings, {"t1": -1}),
    ],
)
def test_unknown_and_impossible_settings_are_refused(model, values):
    with pytest.raises(ValidationError):
        model(**values)


def test_every_setting_has_a_default():
    assert DiffusionSettings().fit == "weighted"
    assert CestMtSettings().constant("b1_scale") == 1.0
    assert CestMtSettings().constant("mt_fraction") is None


def test_results_state_the_version_of_the_project():
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == VERSION


@pytest.mark.parametrize(
    "module",
    ["settings", "gradient_check", "network_choice", "onnx_session"],
)
def test_what_answers_at_once_loads_no_large_library(module):
    """Configuration errors and ``inspect`` must not wait for torch, MONAI or ONNX Runtime."""
    code = (
        f"import sys, operators.inference.{module}; "
        "print({'torch', 'monai', 'onnxruntime', 'matplotlib'} & set(sys.modules))"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert said.stdout.strip() == "set()"
