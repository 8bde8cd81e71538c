"""The entry point of the image: it tells the truth about the application's end."""

import subprocess
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[2] / "package" / "tools"
APPLICATION = """
import os, sys
print("arguments", *sys.argv[1:])
print("workdir", os.environ.get("HOLOSCAN_WORKDIR"))
sys.exit(int(os.environ["STATUS"]))
"""


@pytest.fixture
def image(tmp_path) -> dict[str, str]:
    """The environment of an image whose application ends with STATUS."""
    application = tmp_path / "application"
    for module in ("app", "app/node"):
        (application / module).mkdir(parents=True)
        (application / module / "__init__.py").touch()
        (application / module / "__main__.py").write_text(APPLICATION)
    (tmp_path / "app.json").write_text('{"version": "1"}')
    (tmp_path / "pkg.json").write_text('{"models": {}}')
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "STATUS": "0",
        "HOLOSCAN_APPLICATION": str(application),
        "HOLOSCAN_WORKDIR": str(tmp_path),
        "HOLOSCAN_APP_MANIFEST_PATH": str(tmp_path / "app.json"),
        "HOLOSCAN_PKG_MANIFEST_PATH": str(tmp_path / "pkg.json"),
    }


def run(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        ["sh", str(TOOLS), *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("status", [0, 1, 3, 143])
def test_the_exit_status_is_that_of_the_application(image, status):
    assert run(image | {"STATUS": str(status)}).returncode == status


@pytest.mark.parametrize("status", [0, 2])
def test_the_exit_status_of_the_node_too(image, status):
    assert run(image | {"STATUS": str(status)}, "node", "--config", "x").returncode == status


def test_arguments_reach_the_application_as_they_are(image):
    done = run(image, "--set", "device=cpu now")
    assert "arguments --set device=cpu now" in done.stdout


def test_a_workdir_that_cannot_be_written_is_not_used(image):
    assert f"workdir {image['HOLOSCAN_WORKDIR']}" in run(image).stdout
    assert "workdir None" in run(image | {"HOLOSCAN_WORKDIR": "/proc/nowhere"}).stdout


@pytest.mark.parametrize(
    ("what", "shown"), [("app", '{"version": "1"}'), ("pkg", '{"models": {}}')]
)
def test_manifests_are_shown(image, what, shown):
    assert run(image, "show", what).stdout == shown


def test_an_unknown_manifest_is_a_usage_error(image):
    assert run(image, "show", "all of it").returncode == 2


def test_extraction_without_a_mounted_folder_says_so(image):
    done = run(image, "extract")
    assert done.returncode == 1
    assert "no folder is mounted" in done.stderr
