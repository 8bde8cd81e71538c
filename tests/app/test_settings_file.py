"""Settings: defaults are documented, and every mistake is named with its place and remedy."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from app.config import DEFAULT_FILE, Settings
from app.settings_file import ConfigurationError, read_settings, setting_names


def problems(tmp_path: Path, text: str, *overrides: str) -> tuple[str, ...]:
    file = tmp_path / "site.yaml"
    file.write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        read_settings(Settings, file, overrides)
    return caught.value.problems


def test_the_file_that_comes_with_the_project_states_the_defaults():
    stated = read_settings(Settings, DEFAULT_FILE).model_dump(by_alias=True)
    defaults = Settings().model_dump(by_alias=True)
    for settings in (stated, defaults):
        settings.pop("application")  # the formats are data, not defaults
    assert stated == defaults


def test_every_setting_stands_in_the_file_that_comes_with_the_project():
    text = DEFAULT_FILE.read_text()
    for name in setting_names(Settings):
        if name[0] in ("device", "pipelines", "results"):
            assert f"{name[-1]}:" in text, ".".join(name)


def test_the_packager_finds_what_the_map_specification_wants():
    content = yaml.safe_load(DEFAULT_FILE.read_text())
    assert content["application"]["title"].isascii()
    assert isinstance(content["application"]["version"], str)
    assert "resources" in content


def test_an_empty_file_means_defaults(tmp_path):
    file = tmp_path / "site.yaml"
    file.write_text("# nothing\n")
    assert read_settings(Settings, file) == Settings()


def test_an_override_wins_over_the_file_and_has_a_yaml_type(tmp_path):
    file = tmp_path / "site.yaml"
    file.write_text("pipelines:\n  diffusion: {fit: weighted}\nresults: {summary: true}\n")
    settings = read_settings(
        Settings,
        file,
        [
            "pipelines.diffusion.fit=ordinary",
            "results.summary=false",
            "pipelines.cest_mt.t1=null",
            "pipelines.cest_mt.t2=1.5e+1",
        ],
    )
    assert settings.pipelines.diffusion.fit == "ordinary"
    assert settings.results.summary is False
    assert settings.pipelines.cest_mt.t1 is None
    assert settings.pipelines.cest_mt.t2 == 15.0


@pytest.mark.parametrize(
    ("text", "place", "nearest"),
    [
        ("device: cpu\npipelines:\n  difusion: {}\n", "line 3", "pipelines.diffusion?"),
        ("pipelines:\n  diffusion:\n    fitt: weighted\n", "line 3", "pipelines.diffusion.fit?"),
        ("\n\nfit: ordinary\n", "line 3", "pipelines.diffusion.fit?"),
        ("resutls: {}\n", "line 1", "results?"),
    ],
)
def test_an_unknown_key_is_refused_with_its_line_and_the_nearest_name(
    tmp_path, text, place, nearest
):
    (problem,) = problems(tmp_path, text)
    assert place in problem
    assert nearest in problem


def test_a_key_like_no_other_gets_no_false_hint(tmp_path):
    (problem,) = problems(tmp_path, "xyzzy: 1\n")
    assert "xyzzy is not a setting" in problem
    assert "did you mean" not in problem


def test_all_problems_are_told_at_once(tmp_path):
    told = problems(
        tmp_path,
        "device: gpu\npipelines:\n  diffusion: {fit: fast}\n",
        "results.sumary=true",
    )
    assert len(told) == 3
    assert any("line 1: device:" in problem and "'cuda'" in problem for problem in told)
    assert any("line 3: pipelines.diffusion.fit" in problem for problem in told)
    assert any(
        "--set results.sumary" in problem and "results.summary?" in problem for problem in told
    )


def test_a_key_given_twice_is_refused(tmp_path):
    (problem,) = problems(tmp_path, "device: cpu\nresults: {}\ndevice: cuda\n")
    assert "line 3: device is given twice" in problem


def test_broken_yaml_is_refused_with_its_line(tmp_path):
    (problem,) = problems(tmp_path, "device: cpu\nresults: {summary: [\n")
    assert "not valid YAML" in problem
    assert "line 3" in problem


@pytest.mark.parametrize(
    "override", ["device", "=cpu", ".device=cpu", "device.kind=cpu", "device=[", "a..b=1"]
)
def test_an_override_that_cannot_be_understood_is_refused(tmp_path, override):
    (problem,) = problems(tmp_path, "device: cpu\n", override)
    assert f"--set {override}" in problem


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_settings(Settings, tmp_path / "absent.yaml")


def test_a_file_that_holds_a_list_is_refused(tmp_path):
    (problem,) = problems(tmp_path, "- device\n")
    assert "name: value" in problem
