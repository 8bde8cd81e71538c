"""Checks what the command line ordered, has it done, and tells how it ended."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from app.announcement import announce
from app.batch import run_batch
from app.config import DEFAULT_FILE, DEFAULT_MODELS, Settings
from app.job import Job, now
from app.logs import set_up_logging
from app.pipelines import PIPELINES
from app.result_file import FILE_NAME, ExitStatus, ResultFile, RunStatus
from app.result_folder import FolderInUseError, ResultFolder
from app.run_report import versions
from app.settings_file import ConfigurationError, nearest_name, read_settings
from app.supervision import Worker
from operators.inference.onnx_network import cuda_devices


class UsageError(ValueError):
    """The command line or the configuration cannot be obeyed.

    Args:
        problems: one sentence each.
    """

    def __init__(self, *problems: str) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


def analyse(options: argparse.Namespace, worker: Worker) -> int:
    """Analyse one study as the command line says.

    Args:
        worker: idle, does the work.
        options: input, output, model, workdir, pipeline, device, config, overrides.

    Returns:
        Exit status.

    Raises:
        UsageError: something in the order cannot be obeyed. Where the result folder has no
            ``result.json`` yet, one states that.
    """
    started = now()
    set_up_logging()
    if options.output is None:
        raise UsageError("name the result folder: -o FOLDER, or HOLOSCAN_OUTPUT_PATH")
    try:
        settings = settings_of(options)
        _check_folders(options)
        pipelines = _pipelines(options.pipeline)
        check_device(settings)
    except UsageError as error:
        _state_failure(options.output, started, error)
        raise

    def order(folder: ResultFolder) -> Job:
        return Job(
            input=options.input.resolve(),
            objects=folder.staged_objects.resolve(),
            result=folder.staged_result.resolve(),
            models=(options.model or DEFAULT_MODELS).resolve(),
            workdir=(options.workdir or folder.staging).resolve(),
            pipelines=pipelines,
            settings=settings,
            started=started,
        )

    try:
        result = run_batch(options.output, worker, order)
    except FolderInUseError as error:
        raise UsageError(str(error)) from None
    except OSError as error:
        raise UsageError(f"cannot write into {options.output}: {error.strerror}") from None
    announce(result, options.output)
    return result.exit_status


def settings_of(options: argparse.Namespace) -> Settings:
    """The settings that ``--config``, ``--set`` and ``--device`` make together.

    Raises:
        UsageError: naming every problem with its line and the nearest valid name.
    """
    overrides = list(options.overrides)
    if getattr(options, "device", None):
        overrides.append(f"device={options.device}")
    try:
        return read_settings(Settings, options.config or DEFAULT_FILE, overrides)
    except ConfigurationError as error:
        raise UsageError(*error.problems) from None


def check_device(settings: Settings) -> None:
    """Raise UsageError where a GPU is asked for that is not there."""
    if settings.device == "cuda" and cuda_devices() == 0:
        raise UsageError(
            "device cuda was asked for, but the NVIDIA driver offers no device; use "
            "--device auto or cpu, or start the container with GPUs"
        )


def check_input(folder: Path | None) -> None:
    """Raise UsageError unless ``folder`` can be read."""
    if folder is None:
        raise UsageError("name the study: -i FOLDER, or HOLOSCAN_INPUT_PATH")
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "does not exist"
        raise UsageError(f"input {folder} {what}")
    if not os.access(folder, os.R_OK | os.X_OK):
        raise UsageError(f"input {folder} may not be read by this user")


def _check_folders(options: argparse.Namespace) -> None:
    check_input(options.input)
    if options.output.exists() and not options.output.is_dir():
        raise UsageError(f"output {options.output} is not a folder")
    if options.output.resolve().is_relative_to(options.input.resolve()):
        # The next run would take results for input.
        raise UsageError(f"output {options.output} lies in the input folder; name another")
    for folder in (options.model, options.workdir):
        if folder is not None and not folder.is_dir():
            raise UsageError(f"{folder} is not a folder")


def _pipelines(name: str | None) -> tuple[str, ...]:
    if name is None:
        return tuple(PIPELINES)
    if name not in PIPELINES:
        nearest = nearest_name(name, PIPELINES)
        hint = f"; did you mean {nearest}?" if nearest else ""
        raise UsageError(
            f"--pipeline {name}: there is no such pipeline{hint} Known: {', '.join(PIPELINES)}"
        )
    return (name,)


def _state_failure(output: Path, started: str, error: UsageError) -> None:
    """Leave a result that says why, unless a result of an earlier run lies there."""
    if (output / FILE_NAME).exists() or (output.exists() and not output.is_dir()):
        return
    result = ResultFile(
        status=RunStatus.FAILED,
        exit_status=ExitStatus.USAGE,
        failure=str(error),
        started=started,
        finished=now(),
        versions=versions(),
    )
    try:
        with ResultFolder(output) as folder:
            folder.publish(result)
    except (OSError, FolderInUseError):
        # The exit status and standard error tell it all the same.
        return
