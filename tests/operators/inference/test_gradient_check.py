"""Which gradient tables are refused, and what is said of the others."""

import numpy as np
import pytest

from operators.inference.gradient_check import check_gradients, distinct_directions, shells
from operators.vocabulary.acquisition import GradientTable
from operators.vocabulary.refusal import Refusal


def unit(number: int) -> np.ndarray:
    vectors = np.random.default_rng(1).normal(size=(number, 3))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def table(b0: int, directions: np.ndarray, b: float | np.ndarray = 1000.0) -> GradientTable:
    values = np.broadcast_to(b, len(directions))
    return GradientTable(np.r_[np.zeros(b0), values], np.r_[np.zeros((b0, 3)), directions])


def test_six_directions_and_b0_pass_without_a_finding():
    assert check_gradients(table(1, unit(6))) == ()


@pytest.mark.parametrize(
    ("gradients", "rule"),
    [
        pytest.param(table(3, unit(5)), "too-few-directions", id="five"),
        pytest.param(table(1, np.r_[unit(3), -unit(3)]), "too-few-directions", id="opposite"),
        pytest.param(table(1, np.tile(unit(5), (4, 1))), "too-few-directions", id="repeated"),
        pytest.param(table(0, unit(30)), "no-unweighted-volume", id="no b0"),
        pytest.param(
            table(0, unit(30), np.linspace(920, 1010, 30)),
            "no-unweighted-volume",
            id="no b0, one shell",
        ),
        pytest.param(
            table(1, np.c_[np.cos(np.arange(8)), np.sin(np.arange(8)), np.zeros(8)]),
            "gradients-do-not-determine-tensor",
            id="in a plane",
        ),
        pytest.param(
            table(1, np.r_[unit(8), np.zeros((1, 3))]),
            "weighted-volume-without-direction",
            id="trace",
        ),
    ],
)
def test_what_does_not_determine_a_tensor_is_refused(gradients, rule):
    with pytest.raises(Refusal) as refused:
        check_gradients(gradients)
    assert refused.value.rule == rule
    assert refused.value.remedy


def test_two_shells_without_b0_are_analysed_with_a_finding():
    found = check_gradients(table(0, unit(20), np.repeat([500.0, 1500.0], 10)))
    assert [finding.code for finding in found] == ["no-unweighted-volume"]


def test_high_b_values_are_a_finding():
    assert [one.code for one in check_gradients(table(1, unit(12), 2500.0))] == ["high-b-value"]


def test_shells_gather_the_actual_b_values_of_a_nominal_one():
    values = np.array([995.0, 0.0, 1005.0, 7.0, 1990.0, 2010.0, 940.0])
    assert shells(values).tolist() == [1, 0, 1, 0, 2, 2, 1]


def test_directions_are_counted_without_sign_and_without_zero_rows():
    directions = np.r_[unit(4), -unit(4), np.zeros((3, 3))]
    assert distinct_directions(directions) == 4
