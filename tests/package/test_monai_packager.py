"""``monai-deploy package`` of holoscan-cli 4.2.0 makes a context of this repository.

Everything before docker is the packager's own. Docker is a script here that keeps the context
which it is told to build.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from holoscan_cli.common.constants import Constants

ROOT = Path(__file__).parents[2]
# What the packager otherwise downloads: base images, and versions that must agree with our pins.
ARTIFACTS = {
    "4.2.0": {
        "holoscan": {
            "debian-version": "4.2.0-1",
            "wheel-version": "4.2.0",
            "base-images": {"dgpu": "example.test/cuda:13", "igpu": "example.test/igpu"},
            "build-images": {
                platform: dict.fromkeys(("x86_64", "sbsa"), "example.test/build")
                for platform in ("dgpu", "igpu", "cpu")
            },
        },
        "health-probes": {"linux/amd64": "", "linux/arm64": ""},
    }
}
DOCKER = """#!/bin/sh
case "$*" in
  *"buildx build"*) for last; do :; done; cp -R "$last/." "$KEPT_CONTEXT/" ;;
  *"buildx inspect"*) printf 'Name: %s\\n' "$BUILDER" ;;
  *"buildx ls"*) printf '{"Name": "%s"}\\n' "$BUILDER" ;;
esac
"""


@pytest.fixture(scope="module")
def context(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("packager")
    source = folder / "repository"
    tracked = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z"], check=True, capture_output=True, text=True
    ).stdout.split("\0")
    for name in filter(None, tracked):
        if not name.startswith("tests/"):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, source / name)
    (folder / "artifacts.json").write_text(json.dumps(ARTIFACTS))
    commands = folder / "bin"
    commands.mkdir()
    (commands / "docker").write_text(DOCKER)
    (commands / "docker").chmod(0o755)
    kept = folder / "context"
    kept.mkdir()
    packager = Path(sys.executable).with_name("monai-deploy")
    done = subprocess.run(
        [
            *(str(packager), "package", str(source), "-c", str(source / "app.yaml")),
            *("-t", "quantmap:test", "--platform", "x86_64", "-m", str(source / "models")),
            *("--source", str(folder / "artifacts.json"), "-l", "DEBUG"),
        ],
        env={
            **os.environ,
            "PATH": f"{commands}{os.pathsep}{os.environ['PATH']}",
            "KEPT_CONTEXT": str(kept),
            "BUILDER": Constants.LOCAL_BUILDX_BUILDER_NAME,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert (kept / "Dockerfile").is_file(), done.stdout[-900:] + done.stderr[-900:]
    return kept


def test_the_manifests_say_what_ours_say(context):
    from app.config import DEFAULT_FILE, Settings
    from app.settings_file import read_settings
    from package.manifests import application_manifest, package_manifest

    settings = read_settings(Settings, DEFAULT_FILE)
    theirs = json.loads((context / "map" / "app.json").read_text())
    ours = application_manifest(settings)
    assert set(theirs) == set(ours)
    for key in ("apiVersion", "sdk", "sdkVersion", "version", "workingDirectory", "timeout"):
        assert theirs[key] == ours[key], key
    for key in ("input", "output"):
        assert theirs[key]["formats"] == ours[key]["formats"]
    theirs = json.loads((context / "map" / "pkg.json").read_text())
    ours = package_manifest(settings, ["cest_mt", "diffusion", "superres"])
    assert set(theirs) == set(ours)
    assert theirs["resources"] == ours["resources"]
    assert theirs["modelRoot"].rstrip("/") == ours["modelRoot"]


def test_the_context_holds_the_application_and_its_networks(context):
    assert (context / "app" / "__main__.py").is_file()
    assert (context / "app" / "operators").is_dir()
    assert list(context.glob("models/**/networks/*/model.onnx"))


def test_requirements_reach_pip_line_by_line(context):
    installed = (context / "app" / "requirements.txt").read_text()
    assert installed.endswith("\n")
    recipe = (context / "Dockerfile").read_text()
    assert "pip install" in recipe
    assert "requirements.txt" in recipe


def test_the_application_starts_from_the_packaged_folder(context, tmp_path):
    done = subprocess.run(
        [sys.executable, str(context / "app"), "--version"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("QuantMAP ")
