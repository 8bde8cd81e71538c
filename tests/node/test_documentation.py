"""What docs/node.md shows is accepted as it stands."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest
import yaml

from app.config import Settings
from app.settings_file import read_settings

_TEXT = (Path(__file__).resolve().parents[2] / "docs" / "node.md").read_text()
_BLOCKS = [textwrap.dedent(block) for block in re.findall(r"(?:^    .*\n|^\n)+", _TEXT, re.M)]
_TARGETS = {name: {"kind": "folder", "folder": "x"} for name in ("pacs", "orthanc", "share")}


def blocks(first: str) -> list[str]:
    """Indented blocks of the text that begin with ``first``."""
    return [block for block in _BLOCKS if block.lstrip().startswith(first)]


@pytest.mark.parametrize("section", ["completeness:", "routes:"])
def test_rules(section: str, tmp_path: Path) -> None:
    (block,) = blocks(section)
    node = {"targets": _TARGETS} | yaml.safe_load(block)
    file = tmp_path / "site.yaml"
    file.write_text(yaml.safe_dump({"node": node}))
    assert len(getattr(read_settings(Settings, file).node, section.rstrip(":"))) > 1


def test_the_worklist(tmp_path: Path) -> None:
    own, elsewhere = blocks("worklist:")
    for block, is_elsewhere in ((own, False), (elsewhere, True)):
        (tmp_path / "site.yaml").write_text(yaml.safe_dump({"node": yaml.safe_load(block)}))
        worklist = read_settings(Settings, tmp_path / "site.yaml").node.worklist
        assert worklist is not None
        assert bool(worklist.managers) == is_elsewhere


def test_a_first_site(tmp_path: Path) -> None:
    (block,) = blocks("# site.yaml")
    (tmp_path / "site.yaml").write_text(block)
    node = read_settings(Settings, tmp_path / "site.yaml").node
    assert node.receive.sender("MR3T", "10.1.2.9") is not None
    assert node.receive.sender("MR3T", "10.9.2.9") is None
    assert node.routes[0].targets == tuple(node.targets)
