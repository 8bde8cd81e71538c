"""The context of our own image: what it holds, what its recipe sets, and what it leaves out."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from package.context import write_context
from package.manifests import environment

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def context(tmp_path_factory) -> Path:
    return write_context(tmp_path_factory.mktemp("context"))


def test_networks_lie_apart_from_the_science_that_made_them(context):
    shipped = {path.relative_to(ROOT) for path in ROOT.glob("models/*/networks/*/model.onnx")}
    assert shipped
    assert {path.relative_to(context) for path in context.rglob("model.onnx")} == shipped


def test_nothing_enters_that_the_application_does_not_need(context):
    top = {path.name for path in context.iterdir()}
    assert top == {
        *("app", "models", "docs", "etc", "Dockerfile", "tools"),
        *("app.yaml", "requirements.txt", "constraints.txt"),
    }
    assert {path.name for path in (context / "app").iterdir()} == {"app", "operators", "models"}
    assert not list(context.rglob("__pycache__"))
    assert not list(context.rglob("test_*.py"))


def test_the_manifests_name_what_is_there(context):
    application = json.loads((context / "etc" / "app.json").read_text())
    package = json.loads((context / "etc" / "pkg.json").read_text())
    assert json.loads(application["command"]) == ["python3", "-m", "app"]
    assert set(package["models"]) == {path.name for path in (context / "models").iterdir()}
    assert application["version"] == package["version"]
    assert application["input"]["formats"]


def test_the_recipe_sets_the_environment_of_the_manifest():
    recipe = (ROOT / "package" / "Dockerfile").read_text()
    for name, value in environment().items():
        assert re.search(rf"\b{name}={re.escape(value)}(\s|$)", recipe), name


def test_the_recipe_copies_only_what_the_context_holds(context):
    recipe = (ROOT / "package" / "Dockerfile").read_text()
    copied = {
        word
        for line in re.findall(r"^COPY (.+)$", recipe, re.MULTILINE)
        for word in line.split()[:-1]
    }
    assert copied <= {path.name for path in context.iterdir()}


def test_the_application_starts_from_the_context(context, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "app", "--version"],
        cwd=context / "app",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("QuantMAP ")
