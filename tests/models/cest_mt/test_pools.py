from pathlib import Path

import pytest

from models.cest_mt.pools import Lineshape, read_pool_model

WATER = "water_pool: {f: 1.0, t1: 1.2, t2: 0.07}\n"


def _write(folder: Path, text: str) -> Path:
    path = folder / "model.yaml"
    path.write_text(text)
    return path


def test_pools_are_read_in_order_with_times_or_rates(tmp_path: Path) -> None:
    text = WATER + (
        "cest_pool: {amide: {f: 0.001, r1: 0.5, r2: 20, k: 50, dw: 3.5}}\n"
        "mt_pool: {f: 0.1, t1: 1, t2: 9.0e-6, k: 40, dw: -2, lineshape: SuperLorentzian}\n"
    )
    model = read_pool_model(_write(tmp_path, text))
    assert (model.water_t1, model.water_t2) == (1.2, 0.07)
    (amide,) = model.solutes
    assert (amide.fraction, amide.t1, amide.t2, amide.exchange_rate, amide.shift) == (
        0.001,
        2.0,
        0.05,
        50.0,
        3.5,
    )
    assert model.mt is not None
    assert model.mt.shift == -2
    assert model.mt_lineshape is Lineshape.SUPER_LORENTZIAN
    assert model.exchanging == (amide, model.mt)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("b0: 3\n", "model.yaml has no 'water_pool'"),
        (WATER + "b0_inhom: 0.1\n", "'b0_inhom' and 'rel_b1' .* b0_shift_ppm"),
        ("water_pool: {f: 1.0, t1: 1.2}\n", r"water_pool: give t2 \(s\) or r2"),
        ("water_pool: {f: 2.0, t1: 1, t2: 1}\n", "relative to 1"),
        (WATER + "cest_pool: {a: {t1: 1, t2: 1, k: 2}}\n", "cest_pool a: f, dw missing"),
        (
            WATER + "mt_pool: {f: 0.1, t1: 1, t2: 1, k: 2, dw: 0, lineshape: None}\n",
            "mt_pool: lineshape 'None' is not one of",
        ),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_pool_model(_write(tmp_path, text))
