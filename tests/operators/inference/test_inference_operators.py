"""The operators in a real graph: they always emit, and refusals do not stop the run."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from monai.deploy.conditions import CountCondition
from monai.deploy.core import Application, Operator, OperatorSpec
from toy_bundles import toy_mt

from models.diffusion.prior import NETWORKS
from operators.inference.cest_mt_operator import CestMtOperator
from operators.inference.diffusion_operator import DiffusionOperator
from operators.inference.onnx_model import OnnxModel
from operators.inference.settings import CestMtSettings, DiffusionSettings
from operators.vocabulary.acquisition import GradientTable
from operators.vocabulary.run import AcquiredStudy, PipelineOutcome


class _Source(Operator):
    def __init__(self, fragment: Any, *args: Any, study: AcquiredStudy, **kwargs: Any) -> None:
        self.study = study
        super().__init__(fragment, *args, **kwargs)

    def setup(self, spec: OperatorSpec) -> None:
        spec.output("acquired")

    def compute(self, op_input: Any, op_output: Any, context: Any) -> None:
        op_output.emit(self.study, "acquired")


class _Sink(Operator):
    def __init__(self, fragment: Any, *args: Any, received: list, **kwargs: Any) -> None:
        self.received = received
        super().__init__(fragment, *args, **kwargs)

    def setup(self, spec: OperatorSpec) -> None:
        spec.input("outcome")

    def compute(self, op_input: Any, op_output: Any, context: Any) -> None:
        self.received.append(op_input.receive("outcome"))


class _Graph(Application):
    def __init__(self, study: AcquiredStudy, models: OnnxModel | None) -> None:
        self.study, self.networks, self.received = study, models, []
        super().__init__(["test"])

    def compose(self) -> None:
        source = _Source(self, CountCondition(self, 1), study=self.study, name="source")
        for operator in (
            DiffusionOperator(
                self,
                settings=DiffusionSettings(),
                models=self.networks,
                device="cpu",
                name="diffusion",
            ),
            CestMtOperator(
                self, settings=CestMtSettings(), models=self.networks, device="cpu", name="cest_mt"
            ),
        ):
            sink = _Sink(self, received=self.received, name=f"sink_{operator.name}")
            self.add_flow(source, operator, {("acquired", "acquired")})
            self.add_flow(operator, sink, {("outcome", "outcome")})


def outcomes(study: AcquiredStudy, models: OnnxModel | None = None) -> dict[str, PipelineOutcome]:
    graph = _Graph(study, models)
    graph.run()
    return {outcome.pipeline: outcome for outcome in graph.received}


@pytest.fixture
def models(tmp_path: Path) -> OnnxModel:
    toy_mt(tmp_path / "cest_mt" / "networks" / "mt_3t", 4)
    shutil.copytree(NETWORKS, tmp_path / "diffusion" / "networks")
    return OnnxModel(str(tmp_path))


def test_operators_emit_also_when_there_is_nothing_to_do(models):
    found = outcomes(AcquiredStudy((), (), (), ()), models)
    assert set(found) == {"diffusion", "cest_mt"}
    assert all(one.idle_because and not one.results for one in found.values())


def test_a_study_goes_through_both_operators(acquisition_of, models):
    from models.cest_mt.schedule import Image, SaturationSchedule

    generator = np.random.default_rng(1)
    directions = generator.normal(size=(8, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    directions[0] = 0
    table = GradientTable(np.r_[0.0, np.full(7, 1000.0)], directions)
    few = GradientTable(table.b_values[:5], directions[:5])
    schedule = SaturationSchedule(
        "mrf_mt_3t", 3.0, np.full(4, 8.0), np.full(4, 2.0), (Image(()),) * 4, m0_images=(0,)
    )
    body = np.zeros((3, 12, 12, 1))
    body[:, 3:9, 3:9] = 1
    study = AcquiredStudy(
        (
            acquisition_of(body * generator.uniform(300, 500, (3, 12, 12, 8)), table, number=1),
            acquisition_of(body * generator.uniform(300, 500, (3, 12, 12, 5)), few, number=2),
            acquisition_of(body * generator.uniform(300, 500, (3, 12, 12, 4)), schedule, number=3),
        ),
        (),
        (),
        (),
    )
    found = outcomes(study, models)
    assert [one.source.series_number for one in found["diffusion"].results] == [1]
    assert [one.rule for one in found["diffusion"].refusals] == ["too-few-directions"]
    assert [one.source.series_number for one in found["cest_mt"].results] == [3]

    without_networks = outcomes(study)
    assert [one.rule for one in without_networks["cest_mt"].refusals] == ["no-network-for-protocol"]
    assert {one.rule for one in without_networks["diffusion"].refusals} == {
        "no-prior-network",
        "too-few-directions",
    }
