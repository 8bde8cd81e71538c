"""``kill -9`` at any instant: no object without a result, and the next run puts it right."""

from __future__ import annotations

import random
import sys
import time
from pathlib import Path

import pytest
from application_process import objects_in, run, start

from app.result_file import ResultFile, RunStatus

_SEED = 11


@pytest.fixture(scope="module")
def whole(small_study: Path, tmp_path_factory) -> tuple[ResultFile, float]:
    """What an undisturbed run gives, and the seconds that it takes."""
    out = tmp_path_factory.mktemp("whole")
    begun = time.monotonic()
    assert run("-i", small_study, "-o", out).returncode == 0
    result = ResultFile.read(out / "result.json")
    assert result is not None
    return result, time.monotonic() - begun


def kill_at_random_instants(
    study: Path, folder: Path, whole: tuple[ResultFile, float], instants: int
) -> None:
    """Kill run after run; every fourth while libraries load, the others where files are written.

    A run starts on what the killed one before it left, until one of them succeeds; the next
    starts in a new folder.
    """
    expected, seconds = whole
    chance = random.Random(_SEED)
    ends = []
    out = folder / "0"
    for number in range(instants):
        process = start("-i", study, "-o", out)
        if number % 4 == 0:
            delay = chance.uniform(0, expected.timings["start"])
        else:
            assert process.stderr is not None
            while "step ended" not in process.stderr.readline():
                pass
            delay = chance.uniform(0, 1.1 * (seconds - expected.timings["start"]))
        time.sleep(delay)
        process.kill()
        process.communicate()
        stated = ResultFile.read(out / "result.json")
        found = set(objects_in(out))
        ends.append((round(delay, 2), len(found), stated.status.value if stated else "-"))
        if found:
            assert stated is not None, ends
            assert found <= {written.path for written in stated.outputs}, ends
        if stated is not None and stated.status is RunStatus.SUCCESS:
            assert found == {written.path for written in stated.outputs}, ends
            out = folder / str(number + 1)
    # Shown by pytest -s and in failures: seconds, objects, status of each kill.
    sys.stdout.write(f"{ends}\n")

    assert run("-i", study, "-o", out).returncode == 0
    result = ResultFile.read(out / "result.json")
    assert result is not None
    assert result.outputs == expected.outputs
    assert {path.name for path in out.iterdir() if path.name.startswith(".")} == set()


def test_kill_at_a_few_random_instants(small_study, tmp_path, whole):
    kill_at_random_instants(small_study, tmp_path, whole, instants=4)


@pytest.mark.slow
def test_kill_at_many_random_instants(small_study, tmp_path, whole):
    kill_at_random_instants(small_study, tmp_path, whole, instants=24)
