"""What the documents name exists."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("docs/*.md"), *ROOT.glob("models/*/README.md"), ROOT / "README.md"])


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_tests_and_links_that_a_document_names_exist(document):
    text = document.read_text(encoding="utf-8")
    named = set(re.findall(r"\btests/[\w/]+\.py", text))
    links = {
        (document.parent / target).resolve()
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text)
        if "://" not in target
    }
    missing = [name for name in sorted(named) if not (ROOT / name).is_file()]
    missing += [str(link.relative_to(ROOT)) for link in sorted(links) if not link.exists()]
    assert not missing
