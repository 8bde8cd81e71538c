from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from operators.results.value_text import code_string, long_string, short_text


@given(st.text())
def test_any_text_becomes_a_valid_value(text: str) -> None:
    for value, longest in ((long_string(text), 64), (short_text(text), 1024)):
        assert len(value) <= longest
        assert value.isascii()
        assert "\\" not in value
    assert len(code_string(text)) <= 16
    assert all(c.isupper() or c.isdigit() or c == "_" for c in code_string(text))


def test_code_strings_hold_only_what_is_allowed() -> None:
    assert code_string("k_ssw SD") == "K_SSW_SD"
    assert code_string("ΔB0 of the whole head") == "_B0_OF_THE_WHOLE"
