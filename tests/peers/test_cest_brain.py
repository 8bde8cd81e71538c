"""Brains of real anatomy, simulated with other people's tissue values: the shipped networks.

Anatomy: github.com/leoliuf/MRiLab (label volume). Nothing of it is used in training.
"""

import pytest

from models.cest_mt.brain import LITERATURE, brain_labels, by_networks, compare
from models.cest_mt.bundle import NETWORKS
from models.cest_mt.study import simulated_study

NOISE = 0.01


@pytest.fixture(scope="module")
def figures(shared_data):
    white, brain = brain_labels(shared_data("phantom_brain_labels"), step=(24, 9, 9))
    studies = [
        simulated_study(white, brain, tissues, NOISE, seed=40 + i)
        for i, tissues in enumerate(LITERATURE)
    ]
    found = {"networks": [by_networks(study, NETWORKS) for study in studies]}
    return {row.name: row for _, row in compare(studies, found)}


@pytest.mark.parametrize(("name", "bound"), [("mt_fraction", 3.0), ("mt_exchange_rate", 8.0)])
def test_the_semisolid_pool_is_found(figures, name, bound):
    assert figures[name].nrmse <= bound
    assert figures[name].correlation > 0.8


@pytest.mark.parametrize(
    "name", ["mt_fraction", "mt_exchange_rate", "solute_fraction", "solute_exchange_rate"]
)
def test_the_stated_deviations_are_those_of_the_errors(figures, name):
    assert 60 <= figures[name].coverage <= 76
