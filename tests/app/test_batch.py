"""The batch run: what it publishes, what it refuses, and what it tells its caller."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pydicom
import pytest
from application_process import (
    SECRETS,
    objects_in,
    result_in,
    run,
    start,
    write_diffusion_series,
)

from app.config import DEFAULT_MODELS
from app.result_file import RunStatus
from operators.inference.onnx_network import cuda_devices


@pytest.fixture(scope="module")
def done(small_study: Path, tmp_path_factory) -> tuple[subprocess.CompletedProcess[str], Path]:
    """One successful run and its result folder."""
    output = tmp_path_factory.mktemp("results") / "out"
    return run("-i", small_study, "-o", output), output


class TestSuccess:
    def test_tells_success_by_status_file_and_last_line(self, done):
        process, output = done
        assert process.returncode == 0, process.stderr
        result = result_in(output)
        assert (result.status, result.exit_status) == (RunStatus.SUCCESS, 0)
        assert process.stdout.startswith("success: 1 series analysed")
        assert "summary.png" in process.stdout

    def test_lists_every_object_with_its_uids_and_nothing_else_is_there(self, done):
        _, output = done
        result = result_in(output)
        assert {written.path for written in result.outputs} == set(objects_in(output))
        dicom = [written for written in result.outputs if written.sop_instance_uid]
        assert len(dicom) > 5
        for written in dicom:
            data_set = pydicom.dcmread(output / written.path, stop_before_pixels=True)
            assert data_set.SOPInstanceUID == written.sop_instance_uid
            assert data_set.SOPClassUID == written.sop_class_uid
            assert data_set.SeriesInstanceUID == written.series_instance_uid
        quantities = {written.quantity for written in dicom}
        assert {"mean_diffusivity", "fractional_anisotropy"} <= quantities

    def test_states_what_ran_and_with_what(self, done):
        result = result_in(done[1])
        states = {pipeline.name: pipeline.state for pipeline in result.pipelines}
        assert states == {"diffusion": "ran", "cest_mt": "idle", "superres": "idle"}
        assert [series.number for series in result.inputs_used] == [1]
        assert {"start", "load", "diffusion", "write_parametric_maps"} <= set(result.timings)
        assert result.versions["pydicom"] == pydicom.__version__
        assert result.configuration["pipelines"]["diffusion"]["fit"] == "weighted"

    def test_logs_json_lines_and_nothing_else_when_there_is_no_terminal(self, done):
        lines = [json.loads(line) for line in done[0].stderr.splitlines()]
        assert {"step started", "step ended"} <= {line["message"] for line in lines}
        assert all({"time", "level", "logger"} <= set(line) for line in lines)

    def test_names_no_patient_in_logs_and_result(self, done):
        process, output = done
        text = process.stderr + process.stdout + (output / "result.json").read_text()
        for secret in (*SECRETS, "1.2.826.0.1.3680043.10.1"):
            assert secret not in text

    def test_a_rerun_gives_the_same_objects_in_the_same_place(self, done, small_study, tmp_path):
        _, output = done
        copy = tmp_path / "copy"
        shutil.copytree(output, copy)
        assert run("-i", small_study, "-o", copy).returncode == 0
        assert result_in(copy).outputs == result_in(output).outputs


def test_the_environment_alone_is_enough_and_a_setting_reaches_fit_and_results(
    small_study, tmp_path
):
    environment = {
        "HOLOSCAN_INPUT_PATH": str(small_study),
        "HOLOSCAN_OUTPUT_PATH": str(tmp_path / "out"),
        "HOLOSCAN_CONFIG_PATH": str(tmp_path / "site.yaml"),
    }
    (tmp_path / "site.yaml").write_text(
        "pipelines: {diffusion: {fit: ordinary}}\nresults: {summary: false}\n"
    )
    process = run("--pipeline", "diffusion", environment=environment)
    assert process.returncode == 0, process.stderr
    result = result_in(tmp_path / "out")
    states = {pipeline.name: pipeline.state for pipeline in result.pipelines}
    assert states == {"diffusion": "ran", "cest_mt": "not selected", "superres": "not selected"}
    assert result.configuration["pipelines"]["diffusion"]["fit"] == "ordinary"
    assert not [written for written in result.outputs if "summary" in written.kind]


def test_a_study_that_holds_malformed_files_and_a_bad_series_beside_a_good_one(tmp_path):
    study, out = tmp_path / "study", tmp_path / "out"
    write_diffusion_series(study / "good", number=1)
    files = write_diffusion_series(study / "few", number=2, directions=4)
    (study / "text.dcm").write_text("no DICOM")
    (study / "cut.dcm").write_bytes(files[0].read_bytes()[:300])
    process = run("-i", study, "-o", out)
    assert process.returncode == 3
    result = result_in(out)
    assert (result.status, result.exit_status) == (RunStatus.PARTIAL, 3)
    (refusal,) = result.refusals
    assert refusal.number == 2
    assert refusal.needed
    assert refusal.remedy
    assert {skipped.path for skipped in result.inputs_skipped} == {"text.dcm", "cut.dcm"}
    assert [series.number for series in result.inputs_used] == [1]
    told = [json.loads(line) for line in process.stderr.splitlines()]
    (line,) = [line for line in told if line.get("rule") == refusal.rule]
    assert line["series"] == refusal.series
    assert "series 2" in line["message"]
    assert refusal.remedy in line["message"]


def assert_failed(out: Path, process: subprocess.CompletedProcess[str], status: int) -> None:
    assert process.returncode == status, process.stderr
    assert objects_in(out) == {}
    result = result_in(out)
    assert (result.status, result.exit_status) == (RunStatus.FAILED, status)
    assert result.failure


class TestFailure:
    def test_an_input_folder_that_is_not_there(self, tmp_path):
        process = run("-i", tmp_path / "absent", "-o", tmp_path / "out")
        assert_failed(tmp_path / "out", process, 2)
        assert "does not exist" in process.stderr

    def test_an_empty_input_folder(self, tmp_path):
        (tmp_path / "in").mkdir()
        process = run("-i", tmp_path / "in", "-o", tmp_path / "out")
        assert_failed(tmp_path / "out", process, 3)
        assert "holds no MR image" in process.stderr

    def test_a_study_without_anything_for_the_pipeline_that_was_asked_for(
        self, small_study, tmp_path
    ):
        process = run("-i", small_study, "-o", tmp_path / "out", "--pipeline", "cest_mt")
        assert_failed(tmp_path / "out", process, 3)
        assert "no saturation series" in process.stderr

    def test_a_pipeline_that_does_not_exist(self, small_study, tmp_path):
        process = run("-i", small_study, "-o", tmp_path / "out", "--pipeline", "difusion")
        assert_failed(tmp_path / "out", process, 2)
        assert "did you mean diffusion?" in process.stderr

    def test_a_setting_that_does_not_exist(self, small_study, tmp_path):
        process = run("-i", small_study, "-o", tmp_path / "out", "--set", "device.kind=cpu")
        assert_failed(tmp_path / "out", process, 2)

    def test_results_inside_the_study(self, small_study):
        process = run("-i", small_study, "-o", small_study / "out")
        assert process.returncode == 2
        assert "lies in the input folder" in process.stderr

    @pytest.mark.skipif(cuda_devices() > 0, reason="this machine has a CUDA device")
    def test_cuda_where_there_is_none(self, small_study, tmp_path):
        process = run("-i", small_study, "-o", tmp_path / "out", "--device", "cuda")
        assert_failed(tmp_path / "out", process, 2)
        assert "cuda" in process.stderr

    def test_a_usage_error_leaves_the_results_of_an_earlier_run(self, done, tmp_path):
        copy = tmp_path / "copy"
        shutil.copytree(done[1], copy)
        before = objects_in(copy)
        assert run("-i", tmp_path / "absent", "-o", copy).returncode == 2
        assert objects_in(copy) == before
        assert result_in(copy) == result_in(done[1])

    def test_a_result_folder_that_cannot_be_written(self, small_study, tmp_path):
        (tmp_path / "file").write_text("")
        process = run("-i", small_study, "-o", tmp_path / "file")
        assert process.returncode == 2


def test_an_altered_network_is_a_fault_that_is_named(small_study, tmp_path):
    bundle = tmp_path / "models" / "cest_mt" / "networks" / "mt_3t"
    shutil.copytree(DEFAULT_MODELS / "cest_mt" / "networks" / "mt_3t", bundle)
    with (bundle / "model.onnx").open("ab") as network:
        network.write(b"altered")
    process = run("-i", small_study, "-o", tmp_path / "out", "-m", tmp_path / "models")
    assert_failed(tmp_path / "out", process, 1)
    assert "SHA-256" in result_in(tmp_path / "out").failure
    assert "SHA-256" in process.stderr


def worker_of(process: subprocess.Popen[str]) -> int:
    return int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0])


@pytest.mark.parametrize(
    "ending", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
def test_an_interruption_leaves_a_failed_result_and_no_process(small_study, tmp_path, ending):
    process = start("-i", small_study, "-o", tmp_path)
    assert process.stderr is not None
    line = process.stderr.readline()  # the worker runs
    assert "step started" in line
    worker = worker_of(process)
    time.sleep(0.5)
    process.send_signal(ending)
    process.communicate(timeout=30)
    assert process.returncode == 128 + ending
    assert not Path(f"/proc/{worker}").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["result.json"]
    result = result_in(tmp_path)
    assert result.exit_status == 128 + ending
    assert ending.name in result.failure


def test_a_worker_that_dies_is_told_as_a_fault(small_study, tmp_path):
    process = start("-i", small_study, "-o", tmp_path)
    assert process.stderr is not None
    process.stderr.readline()
    os.kill(worker_of(process), signal.SIGSEGV)
    output, error = process.communicate(timeout=60)
    assert_failed(tmp_path, subprocess.CompletedProcess([], process.returncode, output, error), 1)
    assert "SIGSEGV" in result_in(tmp_path).failure
    told = [json.loads(line) for line in error.splitlines()]
    assert any("Segmentation fault" in line["message"] for line in told)
