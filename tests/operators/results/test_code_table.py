from __future__ import annotations

from pathlib import Path

import pytest
from pydicom.sr._concepts_dict import concepts

from operators.results.code_table import BEGIN, END, with_table
from operators.vocabulary.quantity import PRIVATE_SCHEME, QUANTITIES

CONFORMANCE = Path(__file__).resolve().parents[3] / "docs" / "conformance.md"
STANDARD = {
    code: meaning for concept in concepts["DCM"].values() for code, (meaning, _) in concept.items()
}


def test_the_conformance_statement_is_current() -> None:
    document = CONFORMANCE.read_text()
    assert with_table(document) == document, (
        "run: python -m operators.results.code_table docs/conformance.md"
    )


def test_a_document_without_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="marks"):
        with_table("# Conformance")
    assert "mean_diffusivity" in with_table(f"{BEGIN}{END}")


@pytest.mark.parametrize("name", QUANTITIES)
def test_codes_are_those_of_the_standard_or_private(name: str) -> None:
    quantity = QUANTITIES[name]
    if quantity.code.scheme_designator == "DCM":
        assert STANDARD[quantity.code.value] == quantity.code.meaning
    else:
        assert quantity.code.scheme_designator == PRIVATE_SCHEME
    assert len(quantity.code.value) <= 16
    assert len(quantity.code.meaning) <= 64
    assert len(quantity.label) <= 16
    if quantity.model is not None:
        assert STANDARD[quantity.model.value] == quantity.model.meaning


def test_private_codes_are_unique() -> None:
    values = [q.code.value for q in QUANTITIES.values()]
    assert len(set(values)) == len(values)
