"""``app.json`` and ``pkg.json``: what a MAP says of itself.

Keys, types and order are those of the MONAI Application Package specification
(https://docs.monai.io/projects/monai-deploy, "MONAI Application Package"), as holoscan-cli 4.2.0
writes them.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from app.config import Settings

#: Version of the manifests' form.
API_VERSION = "1.0.0"

APPLICATION = "/opt/holoscan/app"
MODELS = "/opt/holoscan/models"
DOCUMENTS = "/opt/holoscan/docs"
INPUT = "input"
OUTPUT = "output"
WORKING_DIRECTORY = "/var/holoscan"
CONFIGURATION = "/var/holoscan/app.yaml"
APP_MANIFEST = "/etc/holoscan/app.json"
PKG_MANIFEST = "/etc/holoscan/pkg.json"
#: Starts the application, and shows and extracts what is in the image.
ENTRY_POINT = "/var/holoscan/tools"


def environment() -> dict[str, str]:
    """The variables that the image sets: where everything lies."""
    return {
        "HOLOSCAN_APPLICATION": APPLICATION,
        "HOLOSCAN_INPUT_PATH": f"{WORKING_DIRECTORY}/{INPUT}",
        "HOLOSCAN_OUTPUT_PATH": f"{WORKING_DIRECTORY}/{OUTPUT}",
        "HOLOSCAN_WORKDIR": WORKING_DIRECTORY,
        "HOLOSCAN_MODEL_PATH": MODELS,
        "HOLOSCAN_CONFIG_PATH": CONFIGURATION,
        "HOLOSCAN_APP_MANIFEST_PATH": APP_MANIFEST,
        "HOLOSCAN_PKG_MANIFEST_PATH": PKG_MANIFEST,
        "HOLOSCAN_DOCS_PATH": DOCUMENTS,
    }


def application_manifest(settings: Settings) -> dict[str, Any]:
    """``app.json``: how the application is run.

    Args:
        settings: the ``app.yaml`` that the image will hold.
    """
    application = settings.application
    return {
        "apiVersion": API_VERSION,
        "command": '["python3", "-m", "app"]',
        "environment": environment(),
        "input": {"path": INPUT, "formats": application.input_formats},
        "liveness": None,
        "output": {"path": OUTPUT, "formats": application.output_formats},
        "readiness": None,
        "sdk": "monai-deploy",
        "sdkVersion": version("monai-deploy-app-sdk"),
        "timeout": 0,
        "version": application.version,
        "workingDirectory": WORKING_DIRECTORY,
    }


def package_manifest(settings: Settings, pipelines: list[str]) -> dict[str, Any]:
    """``pkg.json``: what the application needs.

    Args:
        settings: the ``app.yaml`` that the image will hold.
        pipelines: those that bring networks: one folder of ``MODELS`` each.
    """
    return {
        "apiVersion": API_VERSION,
        "applicationRoot": APPLICATION,
        "modelRoot": MODELS,
        "models": {pipeline: f"{MODELS}/{pipeline}" for pipeline in pipelines},
        "resources": settings.resources.model_dump(by_alias=True, exclude_none=True),
        "version": settings.application.version,
        "platformConfig": "dgpu",
    }
