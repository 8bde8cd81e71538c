"""The result folder is never half true, whatever stops the run."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

import pytest

from app.result_file import OutputEntry, ResultFile
from app.result_folder import STAGING_PREFIX, FolderInUseError, ResultFolder


def result_of(*paths: str, status: str = "success") -> ResultFile:
    return ResultFile(
        status=status,
        exit_status=0,
        started="2026-01-01T00:00:00Z",
        finished="2026-01-01T00:00:01Z",
        outputs=tuple(OutputEntry(path=path, kind="parametric map") for path in paths),
    )


def publish(folder: Path, result: ResultFile, content: str = "new") -> None:
    with ResultFolder(folder) as owned:
        for output in result.outputs:
            file = owned.staged_objects / output.path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content)
        owned.publish(result)


def files_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_published_objects_lie_beside_their_result_and_nothing_else_does(tmp_path):
    publish(tmp_path / "out", result_of("a/1.dcm", "b.dcm"))
    assert files_in(tmp_path / "out") == {"a/1.dcm", "b.dcm", "result.json"}
    assert ResultFile.read(tmp_path / "out" / "result.json") == result_of("a/1.dcm", "b.dcm")


def test_a_new_run_replaces_the_objects_of_the_last_and_leaves_other_files(tmp_path):
    publish(tmp_path, result_of("old/1.dcm", "same.dcm"), "old")
    (tmp_path / "notes.txt").write_text("mine")
    publish(tmp_path, result_of("same.dcm"))
    assert files_in(tmp_path) == {"same.dcm", "notes.txt", "result.json"}
    assert (tmp_path / "same.dcm").read_text() == "new"
    assert not (tmp_path / "old").exists()


def test_a_failed_run_withdraws_the_objects_of_the_last(tmp_path):
    publish(tmp_path, result_of("a.dcm"))
    publish(tmp_path, result_of(status="failed"))
    assert files_in(tmp_path) == {"result.json"}
    assert json.loads((tmp_path / "result.json").read_text())["status"] == "failed"


def test_an_object_that_was_promised_but_not_written_publishes_nothing(tmp_path):
    with pytest.raises(ValueError, match="was not written"), ResultFolder(tmp_path) as folder:
        folder.publish(result_of("absent.dcm"))
    assert files_in(tmp_path) == set()


@pytest.mark.parametrize("path", ["../evil.dcm", "/evil.dcm", "a/../../evil.dcm", ""])
def test_paths_that_lead_out_of_the_folder_are_refused(path):
    with pytest.raises(ValueError, match="no path inside"):
        OutputEntry(path=path, kind="parametric map")


@pytest.mark.parametrize("stop_at", range(1, 9))
def test_a_stop_at_any_step_of_publishing_leaves_no_object_without_a_result(
    tmp_path, monkeypatch, stop_at
):
    """Every rename and removal is a step; the process is stopped just before one of them."""

    class Stopped(BaseException):
        pass

    publish(tmp_path, result_of("old.dcm", "both.dcm"), "old")
    steps = 0

    def counted(function):
        def step(*arguments, **options):
            nonlocal steps
            if owner_is_publishing:
                steps += 1
                if steps == stop_at:
                    raise Stopped
            return function(*arguments, **options)

        return step

    owner_is_publishing = False
    monkeypatch.setattr(Path, "replace", counted(Path.replace))
    monkeypatch.setattr(Path, "unlink", counted(Path.unlink))
    monkeypatch.setattr(Path, "write_text", counted(Path.write_text))
    folder = ResultFolder(tmp_path)
    folder.__enter__()
    new = result_of("both.dcm", "new.dcm")
    for output in new.outputs:
        (folder.staged_objects / output.path).write_text("new")
    owner_is_publishing = True
    with contextlib.suppress(Stopped):
        folder.publish(new)
    owner_is_publishing = False
    os.close(folder._lock)

    published = files_in(tmp_path)
    objects = {name for name in published if not name.startswith(STAGING_PREFIX)} - {"result.json"}
    stated = ResultFile.read(tmp_path / "result.json")
    assert stated is not None
    assert objects <= {output.path for output in stated.outputs}
    if stated.status == "success":
        assert objects == {output.path for output in stated.outputs}

    publish(tmp_path, new, "rerun")
    assert files_in(tmp_path) == {"both.dcm", "new.dcm", "result.json"}


def test_leftovers_of_a_killed_run_are_removed(tmp_path):
    left = tmp_path / (STAGING_PREFIX + "killed") / "objects"
    left.mkdir(parents=True)
    (left / "a.dcm").write_text("half")
    with ResultFolder(tmp_path) as folder:
        assert not left.exists()
        assert folder.staging.exists()
    assert files_in(tmp_path) == set()


def test_a_folder_that_is_being_written_is_refused_and_left_alone(tmp_path, monkeypatch):
    monkeypatch.setattr("app.result_folder._SECONDS_FOR_A_DYING_OWNER", 0.1)
    with ResultFolder(tmp_path) as first:
        with pytest.raises(FolderInUseError, match="another run"), ResultFolder(tmp_path):
            pass
        assert first.staged_objects.exists()
    with ResultFolder(tmp_path):
        pass
