"""The context of the image: a folder that holds all that the recipe copies, and nothing else."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

from app.config import DEFAULT_FILE, Settings
from app.settings_file import read_settings
from package.manifests import application_manifest, package_manifest

_ROOT = DEFAULT_FILE.parent
_RECIPE = Path(__file__).parent
#: What the application is made of; the networks lie apart from the science that made them.
_CODE = ("app", "operators", "models")
_NETWORKS = "networks"


def write_context(folder: Path, source: Path = _ROOT) -> Path:
    """Write the context of the image.

    Only files that git tracks enter it, so that nothing that lies about gets into an image.

    Args:
        folder: where to write; what an earlier call wrote there is replaced, except ``wheels``.
        source: root of the repository.

    Returns:
        ``folder``.

    Raises:
        ConfigurationError: ``app.yaml`` cannot be used.
        subprocess.CalledProcessError: ``source`` is not a git work tree.
    """
    settings = read_settings(Settings, source / "app.yaml")
    for old in ("app", "models", "docs", "etc"):
        shutil.rmtree(folder / old, ignore_errors=True)
    for name in _tracked(source):
        target = folder / _place(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, target)
    pipelines = sorted(one.name for one in (folder / "models").iterdir())
    manifests = folder / "etc"
    manifests.mkdir(parents=True)
    for file, content in (
        ("app.json", application_manifest(settings)),
        ("pkg.json", package_manifest(settings, pipelines)),
    ):
        (manifests / file).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    for file in ("Dockerfile", "tools"):
        shutil.copyfile(_RECIPE / file, folder / file)
    for file in ("app.yaml", "requirements.txt", "constraints.txt"):
        shutil.copyfile(source / file, folder / file)
    return folder


def _tracked(source: Path) -> list[Path]:
    listed = subprocess.run(
        ["git", "-C", str(source), "ls-files", "-z", "--", *_CODE, "docs", "README.md"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return [Path(name) for name in listed.split("\0") if name]


def _place(name: Path) -> Path:
    """Where a file of the repository lies in the context."""
    if name.parts[0] == "models" and _NETWORKS in name.parts:
        return name
    if name.parts[0] in _CODE:
        return "app" / name
    return Path("docs") / name.name if name.parts[0] != "docs" else name
