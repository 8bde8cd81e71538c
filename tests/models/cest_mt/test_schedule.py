import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from models.cest_mt.schedule import (
    Delay,
    Image,
    Normalisation,
    Pulse,
    ReadoutTrain,
    SaturationSchedule,
    SpinLock,
    Spoiler,
    Tip,
    builtin_schedules,
    load_schedule,
)

SEQUENCE = """# Pulseq sequence file
[VERSION]
major 1
minor 4
revision 0

[DEFINITIONS]
AdcRasterTime 1e-07
BlockDurationRaster 1e-05
FREQ 127.7292
GradientRasterTime 1e-05
M0_offset -300
RadiofrequencyRasterTime 1e-06
offsets_ppm -300 3

[BLOCKS]
1 200000 1 0 0 0 0 0
2 650 0 1 1 1 0 0
3 100 0 0 0 0 1 0
4 100000 0 0 0 0 0 0
5 200000 2 0 0 0 0 0
6 100000 3 0 0 0 0 0
7 650 0 1 1 1 0 0
8 100 0 0 0 0 1 0

[RF]
1 85.1528 1 2 3 0 -38318.76 0
2 85.1528 1 2 3 0 383.1876 0
3 42.5764 1 2 4 0 383.1876 1.0

[TRAP]
1 1.36244e+06 1000 4500 1000 0

[ADC]
1 1 1000000 0 0 0

[SHAPES]

shape_id 1
num_samples 2
1
1

shape_id 2
num_samples 2
0
0

shape_id 3
num_samples 2
0
2000000

shape_id 4
num_samples 2
0
1000000

"""


def _protocol(**changes: Any) -> dict[str, Any]:
    content: dict[str, Any] = {
        "field_strength": 3.0,
        "normalisation": "first",
        "images": {"b1": [None, 2.0, 1.0], "offsets": [None, 3.5, -3.5], "m0": [0]},
        "preparation": [
            {"pulse_train": {"pulses": 2, "duration": 0.1, "gap": 0.05}},
            {"spoiler": 0.005},
        ],
        "recovery": [{"delay": [15, 1, 1]}],
    }
    content.update(changes)
    return {key: value for key, value in content.items() if value is not ...}


def _write(folder: Path, content: dict[str, Any]) -> Path:
    path = folder / "protocol.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_events_are_written_out(tmp_path: Path) -> None:
    schedule = load_schedule(_write(tmp_path, _protocol()))
    assert schedule.name == "protocol"
    assert schedule.number_of_images == 3
    assert schedule.m0_images == (0,)
    assert schedule.normalisation is Normalisation.FIRST
    assert not schedule.relaxed_start
    np.testing.assert_array_equal(schedule.offsets, [math.nan, 3.5, -3.5])
    np.testing.assert_array_equal(schedule.b1, [0, 2, 1])
    assert schedule.images[0] == Image((Spoiler(0.005),), (Delay(15.0),))
    pulse, gap, again, spoiler = schedule.images[2].preparation
    assert isinstance(pulse, Pulse)
    assert pulse == again
    assert pulse.amplitudes == (1.0,)
    assert pulse.offset == pytest.approx(-3.5 * 3 * 42.5764)
    assert (gap, spoiler) == (Delay(0.05), Spoiler(0.005))


def test_a_shaped_pulse_has_the_stated_root_mean_square(tmp_path: Path) -> None:
    train = {"pulses": 1, "duration": 0.1, "shape": [0.1, 1.0, 0.3]}
    schedule = load_schedule(_write(tmp_path, _protocol(preparation=[{"pulse_train": train}])))
    (pulse,) = schedule.images[1].preparation
    assert isinstance(pulse, Pulse)
    assert np.sqrt(np.mean(np.square(pulse.amplitudes))) == pytest.approx(2.0)
    assert pulse.duration == pytest.approx(0.1)


def test_the_built_in_fingerprints_are_the_published_ones() -> None:
    b1 = "2 2 1.7 1.5 1.2 1.2 3 .5 3 1 2.2 3.2 1.5 .7 1.5 2.2 2.5 1.2 3 .2 1.5 2.5 .7 4 3.2 3.5"
    b1 += " 1.5 2.7 .7 .5"
    offsets = "8 6 6 10 10 10 8 6 8 14 14 10 6 10 8 6 8 10 14 14 6 8 14 6 14 14 14 8 10 8"
    mt, amide = load_schedule("mrf_mt_3t"), load_schedule("mrf_amide_3t")
    for schedule in (mt, amide):
        assert schedule.number_of_images == 31
        assert schedule.m0_images == (0,)
        np.testing.assert_array_equal(schedule.b1[1:], [float(value) for value in b1.split()])
        train = [e for e in schedule.images[1].preparation if isinstance(e, SpinLock)]
        assert len(train) == 13
        assert train[0].tip is Tip.NOMINAL
        assert schedule.images[1].recovery == (ReadoutTrain(15.0, 0.02837, 45), Delay(1.0))
        saturation = sum(e.duration for e in schedule.images[1].preparation if e != Spoiler(0.0))
        assert saturation == pytest.approx(2.5)
    np.testing.assert_array_equal(mt.offsets[1:], [float(value) for value in offsets.split()])
    np.testing.assert_array_equal(amide.offsets[1:], np.full(30, 3.5))


def test_the_phantom_protocol_matches_the_acquired_data() -> None:
    schedule = load_schedule("mrf_larginine_3t")
    assert schedule.number_of_images == 30
    assert schedule.m0_images == ()
    np.testing.assert_array_equal(schedule.offsets, np.full(30, 3.0))


@pytest.mark.parametrize("name", builtin_schedules())
def test_every_built_in_protocol_says_what_it_is(name: str) -> None:
    schedule = load_schedule(name)
    assert schedule.name == name
    assert schedule.description
    assert schedule.source
    assert schedule.checks.field_strength == pytest.approx(schedule.field_strength, rel=1e-3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"field_strength": ...}, "protocol.yaml: 'field_strength' is missing"),
        ({"field_strength": "three"}, "'field_strength' must be a number, not 'three'"),
        ({"TR": 3}, "unknown key 'TR'"),
        ({"normalisation": "mean"}, "'normalisation' must be one of none, max, L2, first"),
        ({"images": {"b1": [1, 2], "offsets": [3]}}, "2 values of 'b1' but 1 of 'offsets'"),
        ({"images": {"b1": [1, -2], "offsets": 3}}, "'b1' of image 1 must be at least 0, not -2"),
        ({"images": {"b1": [1, 2], "offsets": [3, None]}}, "'offsets' of image 1 must be a number"),
        ({"images": {"b1": 2, "offsets": 3}}, "'b1' must list one value per image"),
        ({"images": {"b1": [1, 1, 1], "offsets": 3, "m0": [4]}}, r"m0 images \[4\] are outside"),
        ({"images": {"b1": [1], "offsets": 3, "m0": 0}}, "'m0' must list image numbers"),
        ({"relaxed_start": "no way"}, "'relaxed_start' must be true or false, not 'no way'"),
        ({"recovery": [{"delay": [1, 2]}]}, r"event 1 \(delay\) lists 2 values for 3 images"),
        ({"recovery": [{"wait": 2}]}, "recovery, event 1 .*unknown event 'wait'; use pulse_train"),
        ({"recovery": {"delay": 2}}, "recovery must be a list of events"),
        (
            {"preparation": [{"pulse_train": {"pulses": 0, "duration": 1}}]},
            "preparation, event 1 .*'pulses' must be a whole number above 0",
        ),
        (
            {"preparation": [{"pulse_train": {"pulses": 1, "duration": 1, "spin_lock": "up"}}]},
            "'spin_lock' must be one of nominal, perfect",
        ),
        (
            {"preparation": [{"pulse_train": {"pulses": 1, "duration": 1, "shape": "sinc"}}]},
            "'shape' must be 'block' or a list",
        ),
    ],
)
def test_what_is_wrong_with_a_protocol_is_named(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        load_schedule(_write(tmp_path, _protocol(**changes)))


def test_files_that_are_not_there_or_of_another_kind(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no protocol .*one of aptw_3t, mrf_amide_3t"):
        load_schedule("mrf_brain")
    other = tmp_path / "protocol.txt"
    other.write_text("")
    with pytest.raises(ValueError, match=r"ends in .yaml, .yml or .seq, not in '.txt'"):
        load_schedule(other)
    broken = tmp_path / "broken.yaml"
    broken.write_text("a: [1\n")
    with pytest.raises(ValueError, match=r"broken.yaml is not YAML: [\s\S]*line 2"):
        load_schedule(broken)


def test_a_sequence_file(tmp_path: Path) -> None:
    path = tmp_path / "two.seq"
    path.write_text(SEQUENCE)
    schedule = load_schedule(path)
    assert schedule.field_strength == pytest.approx(3.0)
    np.testing.assert_allclose(schedule.offsets, [-300, 3], rtol=1e-6)
    np.testing.assert_allclose(schedule.b1, [2, 2], rtol=1e-6)
    assert schedule.m0_images == (0,)
    first, second = schedule.images
    assert first.recovery == (Delay(pytest.approx(1e-3)),)
    delay, strong, weak, spoiler = second.preparation
    assert delay == Delay(1.0)
    assert isinstance(strong, Pulse)
    assert isinstance(weak, Pulse)
    assert (strong.duration, weak.duration) == (2.0, 1.0)
    assert weak.amplitudes == (pytest.approx(1.0),)
    assert isinstance(spoiler, Spoiler)
    # The first image's pulse and the strong pulse have turned the frame by then.
    turned = 2 * math.pi * (-38318.76 * 2 + 383.1876 * 2)
    assert math.remainder(weak.phase - 1.0 + turned, 2 * math.pi) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[RF]", "[R]", r"two.seq has no section \[RF\]"),
        ("major 1\n", "", r"\[VERSION\] states no 'major'"),
        ("FREQ 127.7292\n", "", "needs 'FREQ' .* or 'B0'"),
        ("offsets_ppm -300 3", "offsets_ppm -300 3 4", "3 values of 'offsets_ppm' but 2 ADC"),
        ("0 1 0\n", "0 0 0\n", "has no ADC event"),
        ("1000000\n\n", "1000000\n", r"ends inside section \[SHAPES\]"),
        ("num_samples 2", "num_samples two", "damaged: pypulseq cannot read it"),
    ],
)
def test_what_is_wrong_with_a_sequence_file_is_named(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    path = tmp_path / "two.seq"
    path.write_text(SEQUENCE.replace(old, new))
    with pytest.raises(ValueError, match=message):
        load_schedule(path)


def test_a_schedule_checks_its_shapes() -> None:
    schedule = load_schedule("wasabi_3t")
    with pytest.raises(ValueError, match=r"32 images but offsets has shape \(31,\)"):
        replace(schedule, offsets=schedule.offsets[1:])
    assert isinstance(schedule, SaturationSchedule)


def test_reading_a_yaml_protocol_loads_neither_torch_nor_pypulseq() -> None:
    code = (
        "import sys; from models.cest_mt.schedule import load_schedule; "
        "load_schedule('mrf_mt_3t'); "
        "sys.exit(bool({'torch', 'pypulseq', 'scipy'} & set(sys.modules)))"
    )
    root = Path(__file__).resolve().parents[3]
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root)


def test_a_long_shape_is_reduced_with_its_flip_angle(
    shared_data: Callable[[str], Path],
) -> None:
    from models.cest_mt.pulseq import read_pulseq

    folder = shared_data("pulseq_cest_protocols") / "seq-library" / "T1map_001_3HypSec"
    fine, coarse = (
        read_pulseq(folder / "T1map_001_3HypSec.seq", maximum_samples=number)
        for number in (10_000, 500)
    )
    for one, other in zip(fine.images[0].preparation, coarse.images[0].preparation, strict=True):
        if isinstance(one, Pulse) and isinstance(other, Pulse):
            assert len(other.amplitudes) <= 500 < len(one.amplitudes)
            areas = [
                pulse.sample_duration
                * np.sum(np.array(pulse.amplitudes) * np.exp(1j * np.array(pulse.phases)))
                for pulse in (one, other)
            ]
            assert areas[0] == pytest.approx(areas[1], rel=1e-9)
