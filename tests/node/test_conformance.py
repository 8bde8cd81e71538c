"""The network part of the conformance statement says what the code does."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.node.conformance import STATUS_MEANINGS, UPS_MEANINGS, with_tables
from app.node.receive.command import Status
from app.node.worklist.workitem import UpsStatus

CONFORMANCE = Path(__file__).resolve().parents[2] / "docs" / "conformance.md"


def test_the_conformance_statement_is_current() -> None:
    document = CONFORMANCE.read_text()
    assert with_tables(document) == document, (
        "run: python -m app.node.conformance docs/conformance.md"
    )


def test_every_status_is_explained() -> None:
    assert set(STATUS_MEANINGS) == set(Status)
    assert set(UPS_MEANINGS) == set(UpsStatus)


def test_a_document_without_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="marks"):
        with_tables("# Conformance")
