from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_results import made_result, made_source
from pydicom.uid import UID

from operators.results.identifiers import ResultIdentifiers, derived_uid
from operators.vocabulary.result import PipelineResult

PARTS = st.lists(st.text(max_size=8), max_size=5).map(tuple)


@given(PARTS)
def test_a_derived_uid_is_valid_and_repeatable(parts: tuple[str, ...]) -> None:
    uid = derived_uid(*parts)
    assert UID(uid).is_valid
    assert len(uid) <= 44
    assert derived_uid(*parts) == uid


@given(PARTS, PARTS)
def test_different_parts_give_different_uids(one: tuple[str, ...], other: tuple[str, ...]) -> None:
    assert (derived_uid(*one) == derived_uid(*other)) == (one == other)


def test_the_separation_of_parts_matters() -> None:
    assert derived_uid("1", "10") != derived_uid("11", "0")
    assert derived_uid("1", "10") != derived_uid("110")


def all_uids(result: PipelineResult) -> set[str]:
    identifiers = ResultIdentifiers(result)
    return {
        identifiers.series("a"),
        identifiers.series("b"),
        identifiers.instance("a"),
        identifiers.instance("a", 2),
        identifiers.instance("b"),
        identifiers.other("a"),
        identifiers.other("a", "1"),
    }


def test_a_rerun_gives_the_same_uids_and_every_purpose_its_own() -> None:
    uids = all_uids(made_result())
    assert uids == all_uids(made_result())
    assert len(uids) == 7


def changed(change: str) -> PipelineResult:
    result = made_result()
    algorithm, source = result.algorithm, result.source
    changes = {
        "source image": replace(result, source=replace(source, images=source.images[:-1])),
        "further source": replace(
            result, further_sources=(made_source(result.maps[0].volume.get_geometry(), 9),)
        ),
        "model": replace(
            result, algorithm=replace(algorithm, model_sha256={"model.onnx": "5e" * 32})
        ),
        "configuration": replace(
            result, algorithm=replace(algorithm, configuration={"fit": "ordinary"})
        ),
        "version": replace(result, algorithm=replace(algorithm, version="0.1.1")),
        "pipeline": replace(result, pipeline="cest_mt"),
    }
    return changes[change]


@pytest.mark.parametrize(
    "change",
    ["source image", "further source", "model", "configuration", "version", "pipeline"],
)
def test_whatever_changes_values_changes_every_uid(change: str) -> None:
    assert not all_uids(made_result()) & all_uids(changed(change))


def test_neither_order_nor_machine_changes_a_uid() -> None:
    result = made_result()
    shuffled = replace(
        result,
        source=replace(result.source, images=result.source.images[::-1]),
        algorithm=replace(result.algorithm, execution_provider="CUDAExecutionProvider"),
        timings={"fit": 2.0},
    )
    assert all_uids(shuffled) == all_uids(result)
