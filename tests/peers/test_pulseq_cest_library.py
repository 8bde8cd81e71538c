"""Our simulator against the reference signals of the Pulseq-CEST library.

The library simulates its white-matter model of seven pools, in which the semisolid pool has z
magnetisation only, and starts every image from thermal equilibrium.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from models.cest_mt.pools import ExchangingPool, PoolModel, read_pool_model
from models.cest_mt.schedule import SaturationSchedule, load_schedule
from models.cest_mt.signal import simulate

SharedData = Callable[[str], Path]


def _white_matter(shared_data: SharedData) -> PoolModel:
    library = shared_data("pulseq_cest_protocols") / "sim-library"
    return read_pool_model(library / "WM_3T_default_7pool_bmsim.yaml")


def _signal(schedule: SaturationSchedule, pools: PoolModel) -> np.ndarray:
    relaxed = replace(schedule, relaxed_start=True)
    return np.asarray(simulate(relaxed, pools)[0])


def _published(shared_data: SharedData, name: str) -> np.ndarray:
    folder = shared_data("pulseq_cest_protocols") / "seq-library" / name
    return np.loadtxt(folder / f"M_z_{name}.seq.txt")


@pytest.mark.parametrize(
    ("name", "tolerance"),
    [
        ("MRF_CEST_3T_001_block_brain", 1e-3),
        ("MRF_CEST_3T_002_13SL_DC50_2500ms_LArginine", 1e-3),
        ("MRF_CEST_3T_003_13SL_DC50_2500ms_MT", 1e-3),
        ("APTw_3T_003_2uT_8block_DC95_834ms_braintumor", 1e-3),
        ("WASABI_3T_001_3p7uT_1block_5ms", 1e-5),
        ("WASABIT1_3T_001_3p7uT_1block_5p12ms", 1e-3),
        ("T1map_001_3HypSec", 1e-3),
        pytest.param("APTw_3T_000_2uT_1block_2s_braintumor", 1e-3, marks=pytest.mark.slow),
        pytest.param("APTw_3T_004_2uT_19SL_DC95_2s_braintumor", 1e-3, marks=pytest.mark.slow),
    ],
)
def test_sequence_files_of_the_library(
    shared_data: SharedData, name: str, tolerance: float
) -> None:
    path = shared_data("pulseq_cest_protocols") / "seq-library" / name / f"{name}.seq"
    signal = _signal(load_schedule(path), _white_matter(shared_data))
    np.testing.assert_allclose(signal, _published(shared_data, name), rtol=0, atol=tolerance)


@pytest.mark.parametrize(
    ("protocol", "name", "first_image", "tolerance"),
    [
        ("wasabi_3t", "WASABI_3T_001_3p7uT_1block_5ms", 0, 1e-5),
        ("aptw_3t", "APTw_3T_000_2uT_1block_2s_braintumor", 0, 1e-5),
        # Ideal tips stand for 1 ms pulses with 0.4 ms around them.
        ("mrf_mt_3t", "MRF_CEST_3T_003_13SL_DC50_2500ms_MT", 1, 4e-3),
    ],
)
def test_our_protocols_give_the_signals_of_the_library(
    shared_data: SharedData, protocol: str, name: str, first_image: int, tolerance: float
) -> None:
    signal = _signal(load_schedule(protocol), _white_matter(shared_data))[first_image:]
    np.testing.assert_allclose(signal, _published(shared_data, name), rtol=0, atol=tolerance)


@pytest.mark.parametrize(("b0_shift_ppm", "b1_scale"), [(0.0, 1.0), (0.1, 1.1), (-0.2, 0.8)])
def test_our_l_arginine_protocol_gives_the_signals_of_the_published_sequence(
    larginine_sequence: SaturationSchedule, b0_shift_ppm: float, b1_scale: float
) -> None:
    pools = PoolModel(2.8, 0.6, (ExchangingPool(1e-3, 300.0, 2.8, 0.04, 3.0),))
    ours, theirs = (
        simulate(schedule, pools, b0_shift_ppm=b0_shift_ppm, b1_scale=b1_scale)
        for schedule in (load_schedule("mrf_larginine_3t"), larginine_sequence)
    )
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("b0_shift_ppm", "b1_scale", "exchange"),
    # With a B0 shift, water alone: BMCTool 1.0.3 shifts the other pools to the other side.
    [(0.3, 0.8, False), (-0.2, 1.2, False), (0.0, 0.8, True)],
)
def test_b0_and_b1_mean_what_they_mean_in_bmctool(
    shared_data: SharedData, tmp_path: Path, b0_shift_ppm: float, b1_scale: float, exchange: bool
) -> None:
    bmctool = pytest.importorskip("bmctool.simulation", reason="BMCTool is not installed")
    parameters = pytest.importorskip("bmctool.parameters").Parameters
    name = "WASABI_3T_001_3p7uT_1block_5ms"
    sequence = shared_data("pulseq_cest_protocols") / "seq-library" / name / f"{name}.seq"
    cases = shared_data("bloch_mcconnell_cases")
    model = cases / "case_4" / "case_4_5pool_model.yaml"
    settings = yaml.safe_load(model.read_text())
    settings.update(b0_inhom=b0_shift_ppm, rel_b1=b1_scale)
    pools = read_pool_model(model)
    if not exchange:
        settings["cest_pool"] = {}
        pools = replace(pools, solutes=())
    path = tmp_path / "model.yaml"
    path.write_text(yaml.safe_dump(settings))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pypulseq, about the age of the file
        simulation = bmctool.BMCSim(parameters.from_yaml(path), sequence, verbose=False)
    simulation.run()
    _, theirs = simulation.get_zspec(return_abs=False)
    schedule = replace(load_schedule(sequence), relaxed_start=True)
    ours = simulate(schedule, pools, b0_shift_ppm=b0_shift_ppm, b1_scale=b1_scale)
    np.testing.assert_allclose(ours[0], theirs, rtol=0, atol=1e-5)


@pytest.fixture(scope="module")
def larginine_sequence(shared_data: SharedData) -> SaturationSchedule:
    folder = shared_data("cest_mrf_phantom") / "deep_reco_example"
    return load_schedule(folder / "acq_protocol3T.seq")
