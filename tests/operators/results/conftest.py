"""Fixtures of the results wing: a plan of one small result."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import pytest
from made_results import made_result

from operators.results.series_plan import ResultPlan, plan_results
from operators.vocabulary.result import PipelineResult

CREATED = datetime(2026, 1, 2, 3, 4, 5)


@pytest.fixture
def created() -> datetime:
    return CREATED


@pytest.fixture
def planned() -> Callable[..., ResultPlan]:
    """Plans one result, made with the arguments of `made_result` or given."""

    def plan(result: PipelineResult | None = None, **arguments: object) -> ResultPlan:
        return plan_results([result or made_result(**arguments)], CREATED)[0]

    return plan
