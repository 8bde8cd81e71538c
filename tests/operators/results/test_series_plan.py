from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from hypothesis import given, settings
from hypothesis import strategies as st
from made_results import made_result

from operators.results.series_plan import ObjectKind, plan_results
from operators.vocabulary.quantity import QUANTITIES
from operators.vocabulary.result import PipelineResult

CREATED = datetime(2026, 1, 2)


def numbered(number: int | None, pipeline: str = "diffusion") -> PipelineResult:
    result = made_result("axial", pipeline=pipeline, shape=(2, 3, 3))
    if number is None:
        del result.source.header.SeriesNumber
    else:
        result.source.header.SeriesNumber = number
    return result


def test_numbers_follow_the_source_and_name_their_kind() -> None:
    (plan,) = plan_results([numbered(7)], CREATED)
    assert plan.series_of(ObjectKind.VIEWER_IMAGE, "b0").number == 7001
    assert plan.series_of(ObjectKind.VIEWER_IMAGE, "fractional_anisotropy").number == 7003
    assert plan.series_of(ObjectKind.PARAMETRIC_MAP, "b0").number == 7101
    assert plan.series_of(ObjectKind.COLOUR_MAP, "colour_fa").number == 7201
    assert plan.series_of(ObjectKind.SEGMENTATION).number == 7301
    assert plan.series_of(ObjectKind.MEASUREMENT_REPORT).number == 7302
    assert plan.series_of(ObjectKind.SUMMARY_PAGE).number == 7303


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.one_of(st.none(), st.integers(-(2**31), 2**31 - 1), st.sampled_from([5, 5001])),
        min_size=1,
        max_size=4,
    )
)
def test_no_two_series_share_a_number_a_uid_or_a_folder(numbers: list[int | None]) -> None:
    results = [numbered(n, pipeline=f"p{k}") for k, n in enumerate(numbers)]
    plans = plan_results(results, CREATED)
    series = [s for plan in plans for s in plan.series.values()]
    used = [s.number for s in series] + [n for n in set(numbers) if n is not None]
    assert len(set(used)) == len(used)
    assert all(0 < s.number < 2**31 for s in series)
    assert len({s.uid for s in series}) == len(series)
    assert len({plan.folder for plan in plans}) == len(plans)


def test_two_results_of_one_pipeline_and_series_keep_apart() -> None:
    one = numbered(5)
    other = replace(one, algorithm=replace(one.algorithm, configuration={"fit": "ordinary"}))
    first, second = plan_results([one, other], CREATED)
    assert first.folder != second.folder
    assert not {s.number for s in first.series.values()} & {
        s.number for s in second.series.values()
    }


def test_descriptions_fit_and_name_the_content_first() -> None:
    result = numbered(5)
    result = replace(result, algorithm=replace(result.algorithm, name="QuantMAP " + "x" * 80))
    for plan in plan_results([result], CREATED):
        for series in plan.series.values():
            assert len(series.description) <= 64
            assert series.description.isascii()
        fa = plan.series_of(ObjectKind.VIEWER_IMAGE, "fractional_anisotropy")
        assert fa.description.startswith(QUANTITIES["fractional_anisotropy"].label)


def test_empty_segments_are_not_written_and_numbers_close_up() -> None:
    result = made_result("axial")
    brain, white = result.segments
    empty = replace(brain, name="Lesion", volume=brain.volume.with_array(brain.volume.array * 0))
    (plan,) = plan_results([replace(result, segments=(brain, empty, white))], CREATED)
    assert [segment.name for segment in plan.written_segments()] == ["Brain", "White matter"]
