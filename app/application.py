"""The operator graph: study -> acquisitions -> pipelines -> objects -> report."""

from __future__ import annotations

import sys
from functools import lru_cache, partial
from pathlib import Path

from monai.deploy.conditions import CountCondition
from monai.deploy.core import AppContext, Application, Model

from app.job import Job
from app.report_operator import OutcomeCollectorOperator, ReportOperator
from app.result_file import ResultFile
from app.run_report import report
from app.steps import StepTimes
from operators.inference.cest_mt_operator import CestMtOperator
from operators.inference.diffusion_operator import DiffusionOperator
from operators.inference.onnx_model import OnnxModel
from operators.inference.study_segments_operator import StudySegmentsOperator
from operators.inference.superres_operator import SuperresOperator
from operators.ingest.acquisition_operator import AcquisitionOperator
from operators.ingest.study_loader_operator import StudyLoaderOperator
from operators.results.measurement_report_operator import MeasurementReportWriterOperator
from operators.results.parametric_map_operator import ParametricMapWriterOperator
from operators.results.segmentation_operator import SegmentationWriterOperator
from operators.results.summary_operator import SummaryPageWriterOperator
from operators.results.tracts_operator import TractsWriterOperator
from operators.results.viewer_image_operator import ViewerImageWriterOperator

_WRITERS = {
    "write_parametric_maps": ParametricMapWriterOperator,
    "write_viewer_images": ViewerImageWriterOperator,
    "write_segmentation": SegmentationWriterOperator,
    "write_measurement_report": MeasurementReportWriterOperator,
    "write_tracts": TractsWriterOperator,
    "write_summary": SummaryPageWriterOperator,
}


class QuantMapApplication(Application):
    """Analyses one study folder.

    Every operator always emits, an empty list when it has nothing, so that the graph is the
    same for every study. It runs on the single-threaded greedy scheduler: one operator at a
    time, so that no more than one series is in memory.

    Args:
        job: what to analyse, and where to write.
        models: the networks, or None where there are none.
    """

    def __init__(self, job: Job, models: Model | None) -> None:
        self.job = job
        self.models = models
        self.times = StepTimes()
        self.reporter: ReportOperator | None = None
        # Holoscan would parse sys.argv otherwise.
        super().__init__([sys.executable])

    def compose(self) -> None:
        """Join the operators."""
        job, settings, step = self.job, self.job.settings, self.times.of
        load = step(StudyLoaderOperator)(
            self, CountCondition(self, 1), input_folder=job.input, name="load"
        )
        acquire = step(AcquisitionOperator)(self, settings=settings.ingest, name="acquire")
        pipelines = {
            "diffusion": partial(
                step(DiffusionOperator),
                settings=settings.pipelines.diffusion,
                models=self.models,
                device=settings.networks_run_on,
            ),
            "cest_mt": partial(
                step(CestMtOperator),
                settings=settings.pipelines.cest_mt,
                models=self.models,
                device=settings.networks_run_on,
            ),
            "superres": partial(
                step(SuperresOperator),
                settings=settings.pipelines.superres,
                models=self.models,
                device=settings.networks_run_on,
            ),
        }
        collect = OutcomeCollectorOperator(self, name="collect")
        segments = step(StudySegmentsOperator)(self, name="study_segments")
        self.reporter = step(ReportOperator)(
            self, make=partial(report, job, seconds=self.times.seconds), name="report"
        )
        self.add_flow(load, acquire, {("study", "study")})
        for name in job.pipelines:
            pipeline = pipelines[name](self, name=name)
            self.add_flow(acquire, pipeline, {("acquired", "acquired")})
            self.add_flow(pipeline, collect, {("outcome", "outcome")})
        for name, writer in _WRITERS.items():
            write = step(writer)(self, settings=settings.results, folder=job.objects, name=name)
            self.add_flow(segments, write, {("outcomes", "outcomes")})
            self.add_flow(write, self.reporter, {("written", "written")})
        self.add_flow(acquire, self.reporter, {("acquired", "acquired")})
        self.add_flow(acquire, segments, {("acquired", "acquired")})
        self.add_flow(collect, segments, {("outcomes", "outcomes")})
        self.add_flow(segments, self.reporter, {("outcomes", "outcomes")})


def run_study(job: Job) -> ResultFile:
    """Run the graph once.

    Raises:
        Refusal: the input as a whole was refused.
        RuntimeError: the graph ended without a report.
    """
    application = QuantMapApplication(job, _models(job.models, _state_of(job.models)))
    application.run()
    if application.reporter is None or application.reporter.result is None:
        raise RuntimeError("the graph ended without a report")
    return application.reporter.result


# A worker of the node runs many studies: networks that were loaded for one serve the next.
@lru_cache(maxsize=1)
def _models(folder: Path, state: frozenset[tuple[str, int, int]]) -> Model | None:
    """The networks in ``folder``; loaded again when a file of it has changed (``state``)."""
    # The context is made here and not by init_app_context, which would parse the command line
    # again, replace the logging and write paths to it.
    Model.register([OnnxModel])
    return AppContext({"model": str(folder)}).models


def _state_of(folder: Path) -> frozenset[tuple[str, int, int]]:
    """Name, time and size of every file in ``folder``."""
    return frozenset(
        (str(path), status.st_mtime_ns, status.st_size)
        for path in folder.rglob("*")
        if path.is_file() and (status := path.stat())
    )
