"""Which models a gradient table supports, and what is said where it does not."""

from __future__ import annotations

import numpy as np
import pytest
from made_brains import table_of

from operators.inference.model_choice import choose_models, part_of, tensor_volumes
from operators.inference.settings import DiffusionSettings
from operators.vocabulary.acquisition import GradientTable
from operators.vocabulary.refusal import Refusal

TWO_SHELLS = table_of(10, (1000.0, 2000.0))
AUTO = DiffusionSettings()


def messages(table: GradientTable, with_prior: bool = True) -> str:
    return " ".join(one.message for one in choose_models(table, AUTO, with_prior).findings)


def test_one_shell_supports_neither_and_says_why():
    chosen = choose_models(table_of(30), AUTO, with_prior=True)
    assert not chosen.kurtosis
    assert not chosen.noddi
    assert not len(chosen.volumes)
    (finding,) = chosen.findings
    assert finding.message.startswith("No kurtosis and no NODDI maps: two shells")
    assert "there is one, 30 volumes of b 1000 s/mm²" in finding.message


def test_two_shells_support_both_with_the_prior():
    chosen = choose_models(TWO_SHELLS, AUTO, with_prior=True)
    assert chosen.kurtosis
    assert chosen.noddi
    assert len(chosen.volumes) == 21


def test_the_data_alone_must_determine_kurtosis():
    """22 unknowns; NODDI has fewer."""
    chosen = choose_models(TWO_SHELLS, AUTO, with_prior=False)
    assert not chosen.kurtosis
    assert chosen.noddi
    assert "do not determine its 22 unknowns" in messages(TWO_SHELLS, with_prior=False)
    assert choose_models(table_of(20, (1000.0, 2000.0)), AUTO, with_prior=False).kurtosis


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (table_of(10, (1000.0, 1200.0)), "too close or too low"),
        (table_of(10, (500.0, 1000.0)), "too close or too low"),
        (table_of(5, (1000.0, 2000.0)), "no shell has 6 directions"),
        (part_of(TWO_SHELLS, np.arange(1, 21)), "no volume without diffusion weighting"),
        (table_of(10, (1000.0, 4000.0)), "there is one, 10 volumes of b 1000"),
    ],
)
def test_other_reasons_are_told(table, words):
    assert words in messages(table)


def test_b_values_that_scatter_are_one_shell():
    """UIH states each direction's own b."""
    table = table_of(16)
    scattered = GradientTable(
        table.b_values * np.r_[1, np.linspace(0.97, 1.03, 16)], table.directions
    )
    assert "there is one" in messages(scattered)


def test_a_model_that_was_asked_for_is_refused_where_the_table_is_too_poor():
    with pytest.raises(Refusal, match="NODDI is asked for, but two shells") as refused:
        choose_models(table_of(30), DiffusionSettings(models=("noddi",)), with_prior=True)
    assert refused.value.rule == "model-not-supported"


def test_only_what_was_asked_for_is_made():
    chosen = choose_models(TWO_SHELLS, DiffusionSettings(models=("kurtosis",)), with_prior=True)
    assert (chosen.kurtosis, chosen.noddi) == (True, False)
    none = choose_models(TWO_SHELLS, DiffusionSettings(models=()), with_prior=True)
    assert (none.kurtosis, none.noddi, none.findings) == (False, False, ())


def test_the_tensor_is_that_of_the_lower_shells_where_they_determine_it():
    assert tensor_volumes(TWO_SHELLS).tolist() == list(range(11))
    assert len(tensor_volumes(table_of(10, (2000.0,)))) == 11
    few_low = part_of(TWO_SHELLS, np.r_[0, 1:5, 11:21])
    assert len(tensor_volumes(few_low)) == 15
