"""Logs: one JSON object a line, this project's words only, never a patient's."""

from __future__ import annotations

import io
import json
import logging
from decimal import Decimal, InvalidOperation

import pytest
from rich.console import Console

from app.config import Settings
from app.logs import JsonFormatter, TerminalProgress, describe_fault
from app.settings_file import ConfigurationError, read_settings


def record(message: str, **extra: object) -> logging.LogRecord:
    made = logging.makeLogRecord({"name": "app.steps", "levelname": "INFO", "msg": message})
    vars(made).update(extra)
    return made


def test_a_line_is_json_with_the_fields_of_the_record():
    line = json.loads(JsonFormatter().format(record("step ended", step="load", seconds=0.5)))
    assert line["message"] == "step ended"
    assert line["step"] == "load"
    assert line["seconds"] == 0.5
    assert line["time"].endswith("+00:00")


def test_the_text_of_a_library_s_exception_is_not_repeated():
    """Libraries quote the values that they stumble over."""
    try:
        Decimal("DOE^JANE")
    except InvalidOperation as error:
        text = json.dumps(describe_fault(error))
        line = JsonFormatter().format(record("internal fault", exc_info=(None, error, None)))
    assert "DOE" not in text + line
    assert "InvalidOperation" in text


def test_what_the_operating_system_says_is_told_without_the_file(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        (tmp_path / "DOE^JANE").read_text()
    assert describe_fault(caught.value).startswith("FileNotFoundError: No such file")
    assert "DOE" not in describe_fault(caught.value)


def test_the_text_of_our_own_exception_is_told(tmp_path):
    with pytest.raises(ConfigurationError) as caught:
        read_settings(Settings, tmp_path / "absent.yaml")
    assert "cannot be read" in describe_fault(caught.value)


def test_a_terminal_shows_each_step_once_with_its_time_and_warnings_above():
    screen = io.StringIO()
    handler = TerminalProgress(Console(file=screen, force_terminal=True, width=100))
    handler.emit(record("step started", step="write_summary"))
    warning = record("ten files skipped")
    warning.levelno = logging.WARNING
    handler.emit(warning)
    handler.emit(record("step ended", step="write_summary", seconds=1.0))
    handler.close()
    final = screen.getvalue()
    assert "write summary" in final
    assert "ten files skipped" in final
    assert "✓" in final
