"""Reads a YAML file into checked settings, and says where and how a setting is wrong."""

from __future__ import annotations

import dataclasses
import difflib
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

Key = tuple[str | int, ...]
SettingsModel = TypeVar("SettingsModel", bound=BaseModel)

_UNKNOWN_KEY = {"extra_forbidden", "unexpected_keyword_argument"}


class ConfigurationError(ValueError):
    """The configuration cannot be used.

    Args:
        problems: one sentence per problem, each naming the place and the remedy.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(problems))


def read_settings(
    model: type[SettingsModel], path: Path, overrides: Iterable[str] = ()
) -> SettingsModel:
    """Read ``path``, apply ``overrides`` and check the whole.

    Args:
        model: what the file must hold; unknown keys are refused.
        path: YAML file; settings that it leaves out keep their defaults.
        overrides: ``dotted.path=value`` texts, later ones win; values are YAML.

    Raises:
        ConfigurationError: the file cannot be read, is not YAML, or a setting is unknown or
            has a wrong value; every problem is named with file and line.
    """
    values, origins = _read_yaml(path)
    for override in overrides:
        _apply(values, origins, override)
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise ConfigurationError(
            [_explain(problem, model, origins, path) for problem in error.errors()]
        ) from None


def _read_yaml(path: Path) -> tuple[dict[str, Any], dict[Key, str]]:
    """The mapping in ``path`` and, for every key in it, where it stands."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigurationError([f"{path}: cannot be read: {reason}"]) from None
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        values = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = "" if mark is None else f", line {mark.line + 1}, column {mark.column + 1}"
        raise ConfigurationError([f"{path.name}{where}: not valid YAML: {error.problem}"]) from None
    if node is None or values is None:
        return {}, {}
    if not isinstance(values, dict):
        raise ConfigurationError([f"{path.name}: must hold settings as 'name: value' lines"])
    origins: dict[Key, str] = {}
    for key, line in _key_lines(node, ()):
        if key in origins:
            raise ConfigurationError(
                [f"{path.name}, line {line}: {dotted(key)} is given twice; keep one of the two"]
            )
        origins[key] = f"{path.name}, line {line}"
    return values, origins


def _key_lines(node: yaml.Node, above: Key) -> Iterator[tuple[Key, int]]:
    if isinstance(node, yaml.MappingNode):
        for key_node, value_node in node.value:
            key = (*above, str(key_node.value))
            yield key, key_node.start_mark.line + 1
            yield from _key_lines(value_node, key)
    elif isinstance(node, yaml.SequenceNode):
        for index, value_node in enumerate(node.value):
            yield (*above, index), value_node.start_mark.line + 1
            yield from _key_lines(value_node, (*above, index))


def _apply(values: dict[str, Any], origins: dict[Key, str], override: str) -> None:
    """Put one ``dotted.path=value`` into ``values``."""
    name, equals, text = override.partition("=")
    key = tuple(name.strip().split("."))
    if not equals or not all(key):
        raise ConfigurationError(
            [f"--set {override}: write dotted.name=value, such as pipelines.diffusion.fit=ordinary"]
        )
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise ConfigurationError([f"--set {override}: the value is not valid YAML"]) from None
    section = values
    for depth, part in enumerate(key[:-1]):
        below = section.setdefault(part, {})
        if below is None:
            below = section[part] = {}
        if not isinstance(below, dict):
            raise ConfigurationError(
                [f"--set {override}: {dotted(key[: depth + 1])} is a value, not a section"]
            )
        section = below
    section[key[-1]] = value
    for known in [known for known in origins if known[: len(key)] == key]:
        del origins[known]
    origins[key] = f"--set {name.strip()}"


def _explain(
    problem: ErrorDetails, model: type[BaseModel], origins: Mapping[Key, str], path: Path
) -> str:
    """One sentence for one pydantic error: place, what is wrong, what would be right."""
    # A wrong key of a mapping is told at "[key]" below it.
    key: Key = tuple(part for part in problem["loc"] if part != "[key]")
    where = _origin(key, origins) or path.name
    if problem["type"] in _UNKNOWN_KEY:
        nearest = _nearest(key, model)
        hint = f"; did you mean {nearest}?" if nearest else ""
        return f"{where}: {dotted(key)} is not a setting{hint}"
    message = problem["msg"].removeprefix("Value error, ")
    given = "" if problem["type"] == "missing" else f", got {problem['input']!r}"
    return f"{where}: {dotted(key)}: {message[:1].lower()}{message[1:]}{given}"


def _origin(key: Key, origins: Mapping[Key, str]) -> str | None:
    """Where ``key`` was given, or the nearest section around it that was."""
    for length in range(len(key), 0, -1):
        if key[:length] in origins:
            return origins[key[:length]]
    return None


def _nearest(key: Key, model: type[BaseModel]) -> str | None:
    """The setting whose name is most like ``key``: first beside it, then anywhere."""
    known = [".".join(path) for path in setting_names(model)]
    names = tuple(part for part in key if isinstance(part, str))
    section = dotted(names[:-1])
    beside = {name.rpartition(".")[2]: name for name in known if name.rpartition(".")[0] == section}
    like = nearest_name(names[-1], beside)
    if like is not None:
        return beside[like]
    same = [name for name in known if name.rpartition(".")[2] == names[-1]]
    return (
        nearest_name(dotted(names), same)
        or next(iter(same), None)
        or nearest_name(dotted(names), known)
    )


def setting_names(model: type, inside: tuple[type, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every setting of ``model`` and of the sections in it, as paths of names.

    A section that may hold others of its kind is entered once (``inside``: those entered).
    """
    for name, annotation in typing.get_type_hints(model, include_extras=False).items():
        if name.startswith(("_", "model_")):
            continue
        yield (name,)
        for section in _sections(annotation):
            if section in (*inside, model):
                continue
            for below in setting_names(section, (*inside, model)):
                yield (name, *below)


def _sections(annotation: Any) -> Iterator[type]:
    """The settings classes in a type, through unions and lists."""
    if isinstance(annotation, type) and (
        issubclass(annotation, BaseModel) or dataclasses.is_dataclass(annotation)
    ):
        yield annotation
    elif typing.get_origin(annotation) is not dict:
        for argument in typing.get_args(annotation):
            yield from _sections(argument)


def nearest_name(name: str, known: Iterable[str]) -> str | None:
    """The known name most like ``name``, or None where none is."""
    return next(iter(difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)), None)


def dotted(key: Key) -> str:
    """``("pipelines", "diffusion", "fit")`` as ``"pipelines.diffusion.fit"``."""
    return ".".join(str(part) for part in key)
