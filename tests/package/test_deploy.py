"""The examples under ``deploy/`` are what their schedulers take."""

import json
import subprocess
import sys
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from hera.workflows import models as argo

from app.config import Settings
from app.settings_file import read_settings
from operators.vocabulary.version import VERSION

DEPLOY = Path(__file__).parents[2] / "deploy"


@pytest.mark.parametrize("name", ["job.yaml", "node.yaml"])
def test_kubernetes_takes_every_manifest(name):
    manifests = list(yaml.safe_load_all((DEPLOY / "kubernetes" / name).read_text()))
    for manifest in manifests:
        kubernetes_validate.validate(manifest, desired_version="1.33", strict=True)


def test_compose_takes_the_file():
    done = subprocess.run(
        [
            *(sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"),
            str(DEPLOY / "compose" / "compose.yaml"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_argo_takes_the_template():
    text = (DEPLOY / "argo" / "workflow-template.yaml").read_text()
    template = argo.WorkflowTemplate.model_validate(yaml.safe_load(text))
    (step,) = template.spec.templates
    assert step.name == template.spec.entrypoint
    assert step.container.command == ["/var/holoscan/tools"]


def test_mercure_finds_what_its_module_form_asks_for():
    # Fields of Module in common/types.py of mercure 0.4; objects inside are JSON texts.
    fields = {
        *("docker_tag", "additional_volumes", "environment", "docker_arguments", "settings"),
        *("contact", "comment", "constraints", "resources", "requires_root"),
    }
    modules = json.loads((DEPLOY / "mercure" / "modules.json").read_text())
    for module in modules.values():
        assert set(module) == fields
        assert isinstance(json.loads(module["environment"]), dict)
        assert isinstance(json.loads(module["docker_arguments"]), dict)


def test_the_settings_of_the_examples_are_settings_of_the_node(tmp_path):
    site = DEPLOY / "compose" / "site.yaml"
    assert read_settings(Settings, site).node.routes[0].targets == ("pacs",)
    manifests = yaml.safe_load_all((DEPLOY / "kubernetes" / "node.yaml").read_text())
    (configuration,) = [one for one in manifests if one["kind"] == "ConfigMap"]
    file = tmp_path / "site.yaml"
    file.write_text(configuration["data"]["site.yaml"])
    assert read_settings(Settings, file).node.receive.allow


def test_every_example_names_the_image_of_this_version():
    for file in DEPLOY.rglob("*.*"):
        text = file.read_text()
        if "quantmap:" in text and file.name != "site.yaml":
            assert f"quantmap:{VERSION}-" in text, file
