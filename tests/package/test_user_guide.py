"""The user guide explains what the software can say."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from app.config import DEFAULT_FILE, Settings
from app.settings_file import read_settings

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "user_guide.md").read_text(encoding="utf-8")
_CODE = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)+")
_LARGEST_PICTURE = 250_000


def finding_codes() -> Iterator[str]:
    """Codes that modules which make findings write out, but for those of their refusals."""
    for module in sorted((ROOT / "operators").rglob("*.py")):
        text = module.read_text(encoding="utf-8")
        if "Finding(" not in text and "part_of(" not in text:
            continue
        tree = ast.parse(text)
        refused = {
            argument.value
            for call in ast.walk(tree)
            if isinstance(call, ast.Call)
            and getattr(call.func, "id", getattr(call.func, "attr", "")).endswith("Refusal")
            for argument in call.args
            if isinstance(argument, ast.Constant)
        }
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Constant)
                and isinstance(node.value, str)
                and _CODE.fullmatch(node.value)
                and node.value not in refused
            ):
                yield node.value


def test_every_finding_is_explained():
    codes = set(finding_codes())
    assert len(codes) > 80
    assert not {code for code in codes if f"`{code}`" not in GUIDE}


def test_no_finding_is_explained_that_there_is_not():
    sources = "\n".join(path.read_text() for path in (ROOT / "operators").rglob("*.py"))
    tables = "".join(line for line in GUIDE.splitlines() if line.startswith("| `"))
    assert not {
        code
        for code in re.findall(r"`([a-z0-9-]+-[a-z0-9-]+)`", tables)
        if f'"{code}"' not in sources and not code.endswith("-map-missing")
    }


@pytest.mark.parametrize(
    "name", sorted(set(re.findall(r"python -m ((?:app|tests)[a-z_.]*)", GUIDE)))
)
def test_every_module_that_is_named_can_be_run(name):
    module = ROOT / name.replace(".", "/")
    assert module.with_suffix(".py").is_file() or (module / "__main__.py").is_file()


def test_every_setting_that_is_changed_is_one():
    changes = re.findall(r"--set ([a-z_.]+=[a-z0-9]+)", GUIDE)
    changes += [f"{name}=null" for name in re.findall(r"`(pipelines\.cest_mt\.\w+)=null`", GUIDE)]
    assert len(changes) > 2
    read_settings(Settings, DEFAULT_FILE, changes)


@pytest.mark.parametrize("picture", sorted((ROOT / "docs" / "pictures").glob("*")))
def test_pictures_are_small_and_shown(picture):
    assert picture.stat().st_size < _LARGEST_PICTURE
    assert f"pictures/{picture.name}" in GUIDE
    with Image.open(picture) as image:
        assert min(image.size) > 300
