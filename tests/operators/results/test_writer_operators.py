from __future__ import annotations

from pathlib import Path

import monai.deploy.core as deploy
from made_results import made_result
from monai.deploy.conditions import CountCondition

from operators.results.settings import ResultsSettings
from operators.results.write_results import write_results
from operators.vocabulary.run import PipelineOutcome, WrittenObject


def test_the_operators_write_what_the_functions_write(tmp_path: Path) -> None:
    from operators.results.measurement_report_operator import MeasurementReportWriterOperator
    from operators.results.parametric_map_operator import ParametricMapWriterOperator
    from operators.results.segmentation_operator import SegmentationWriterOperator
    from operators.results.summary_operator import SummaryPageWriterOperator
    from operators.results.viewer_image_operator import ViewerImageWriterOperator

    writers = (
        ParametricMapWriterOperator,
        ViewerImageWriterOperator,
        SegmentationWriterOperator,
        MeasurementReportWriterOperator,
        SummaryPageWriterOperator,
    )
    result = made_result(names=("t1",))
    outcomes = [
        PipelineOutcome("superres", idle_because="nothing"),
        PipelineOutcome("x", (result,)),
    ]
    settings = ResultsSettings()
    received: list[list[WrittenObject]] = []

    class Source(deploy.Operator):
        def setup(self, spec: deploy.OperatorSpec) -> None:
            spec.output("outcomes")

        def compute(self, op_input, op_output, context) -> None:
            op_output.emit(outcomes, "outcomes")

    class Sink(deploy.Operator):
        def setup(self, spec: deploy.OperatorSpec) -> None:
            for writer in writers:
                spec.input(writer.__name__)

        def compute(self, op_input, op_output, context) -> None:
            received.extend(op_input.receive(writer.__name__) for writer in writers)

    class Graph(deploy.Application):
        def compose(self) -> None:
            source = Source(self, CountCondition(self, 1), name="source")
            sink = Sink(self, name="sink")
            for writer in writers:
                operator = writer(
                    self, folder=tmp_path / "graph", settings=settings, name=writer.__name__
                )
                self.add_flow(source, operator, {("outcomes", "outcomes")})
                self.add_flow(operator, sink, {("written", writer.__name__)})

    Graph().run()
    by_functions = write_results([result], tmp_path / "functions", settings)
    by_graph = [entry for entries in received for entry in entries]
    assert sorted(by_graph, key=lambda e: e.path) == sorted(by_functions, key=lambda e: e.path)
    for entry in by_graph:
        assert (tmp_path / "graph" / entry.path).is_file()
