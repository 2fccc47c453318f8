"""The typed configuration of a run: its sections joined, read, overridden and written.

Reads YAML files, of which later ones win section by section, and `section.key=value` overrides, all
as plain dictionaries; completes them with the presets that they name and with the default roles;
then validates once and refuses unknown keys and impossible values with one message.
"""

from __future__ import annotations

import contextlib
import difflib
import json
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from avrt.config.cluster import RayConfig
from avrt.config.data import DataConfig, MediaConfig, PrepareConfig, RunConfig
from avrt.config.files import parse_yaml, read_yaml, write_yaml
from avrt.config.packaged import packaged_configs
from avrt.config.presets import expand_presets, merge_trees
from avrt.config.roles import (
    DEFAULT_ROLES,
    JudgeRole,
    ModelRole,
    RoleName,
    StudentConfig,
    TeacherRole,
)
from avrt.config.secrets import mask
from avrt.config.section import Section
from avrt.config.stages import (
    BuildConfig,
    EvalConfig,
    GenerateConfig,
    GrpoConfig,
    ReportConfig,
    SftConfig,
)
from avrt.errors import ConfigError
from avrt.texts import shown

__all__ = ["Config", "describe_config", "dump_config", "load_config"]

NAMED = (("teachers",), ("judges",), ("eval", "models"), ("eval", "benchmarks"))
"""Settings by name; null takes a name out."""
_REPLY_FORMS = ("grammar", "json_schema", "response_format", "structured_outputs", "regex", "ebnf")
"""Fields of `extra_body` with which servers hold a model to a form of its replies."""
_EXPECTED = {
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), "expected a whole number"),
    **dict.fromkeys(("float_type", "float_parsing"), "expected a number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "expected true or false"),
    "tuple_type": "expected a list, such as [a, b]",
    "string_type": "expected a text",
    "path_type": "expected a path",
    "model_type": "expected settings by name, such as {key: value}",
    "dict_type": "expected settings by name, such as {key: value}",
}
"""What belongs in a setting, by the library's name of the problem, without Python's types."""
COMMAND_LINE = "command line"
"""The origin of overrides, in messages."""


class Config(Section):
    """The whole configuration of a run."""

    run: RunConfig = RunConfig()
    data: DataConfig = DataConfig()
    media: MediaConfig = MediaConfig()
    prepare: PrepareConfig = PrepareConfig()
    teachers: dict[RoleName, TeacherRole] = Field(
        default={
            name: TeacherRole.model_validate(role)
            for name, role in DEFAULT_ROLES["teachers"].items()
        }
    )
    """The models that answer the questions, by name. null takes a named teacher out; an empty
    mapping changes nothing.
    """
    generate: GenerateConfig = GenerateConfig()
    merger: ModelRole = ModelRole.model_validate(DEFAULT_ROLES["merger"])
    judges: dict[RoleName, JudgeRole] = Field(default={})
    """The models that judge merged traces, by name; none: the stage has nothing to do. A judge that
    names no `model` takes the merger's model, revision and engine; where the merger's `extra_body`
    holds replies to a form, the judge's must set its own, or null.
    """
    build: BuildConfig = BuildConfig()
    student: StudentConfig = StudentConfig()
    sft: SftConfig = SftConfig()
    grpo: GrpoConfig = GrpoConfig()
    eval: EvalConfig = EvalConfig()
    rubric: ModelRole = ModelRole.model_validate(DEFAULT_ROLES["rubric"])
    """The model that grades replies to MMAR by its rubrics."""
    report: ReportConfig = ReportConfig()
    ray: RayConfig = RayConfig()

    @property
    def cluster(self) -> RayConfig | None:
        """The cluster that the run works on; None: it works on this machine."""
        return self.ray if self.run.on == "ray" else None

    @model_validator(mode="after")
    def _has_the_teacher(self) -> Self:
        """The traces are those of a teacher that there is, and no merger is asked again."""
        name = self.generate.traces_of
        known = [each for each, role in self.teachers.items() if role.modality != "none"]
        if name is not None and name not in known:
            raise ValueError(
                f"generate.traces_of = {shown(name)}: no teacher with media of this name; known: "
                f"{', '.join(known)}"
            )
        if name is not None and self.generate.leak_retries:
            raise ValueError(
                "generate.leak_retries asks the merger again, but with generate.traces_of there is "
                "none; set one of them only"
            )
        return self


def load_config(
    paths: Path | Sequence[Path] | None = None, overrides: Sequence[str] = ()
) -> Config:
    """Merge files and `section.key=value` overrides (values are YAML), validate once.

    Raises:
        ConfigError: unreadable file, a file of differences without the one before it, a key that
            stands twice, an override without "=", an unknown key or an impossible value.
    """
    files = [paths] if isinstance(paths, Path) else list(paths or ())
    layers = _read_layers(files)
    tree: dict[str, Any] = {}
    for layer in layers.values():
        tree = merge_trees(tree, layer)
    layers[COMMAND_LINE] = given = {}
    _refuse_repeated(overrides)
    # A preset on the command line wins over the files, and other overrides win over the preset.
    for override in sorted(overrides, key=lambda text: not _names_preset(text)):
        _apply(tree, override)
        _apply(given, override)
    _refuse_vain_nulls(layers)
    tree = _completed(tree)
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        problems = [(_location(tree, problem), problem) for problem in error.errors()]
        # A value of several types is refused once for each; the problem inside it says more.
        inner = {where[:n] for where, _ in problems for n in range(len(where))}
        lines = [
            _explain(layers, where, problem)
            for where, problem in problems
            if (where not in inner or "[key]" in problem["loc"])
            and not (_wants_text_for_settings(problem) and sum(w == where for w, _ in problems) > 1)
        ]
        raise ConfigError("\n".join(lines)) from error


def dump_config(config: Config) -> str:
    """The resolved configuration as YAML, every default written out, paths relative to the working
    directory.
    """
    return write_yaml(_tree(config.model_dump(mode="json")))


def describe_config(config: Config, used: Collection[str]) -> str:
    """The configuration as YAML for a reader: first all that differs from the defaults, then the
    other values of the sections that are `used`.
    """
    changed = _tree(config.model_dump(mode="json", exclude_defaults=True))
    changed = _differing(changed, DEFAULT_ROLES)  # which the library counts as given
    tree = _tree(config.model_dump(mode="json"))
    rest = _without({name: tree[name] for name in used}, changed)
    parts = {"Differs from the defaults": changed, "Used here as well, at the defaults": rest}
    return "\n".join(
        f"# {title}:\n" + (write_yaml(part) if part else "# nothing\n")
        for title, part in parts.items()
    )


def _tree(dumped: dict[str, Any]) -> dict[str, Any]:
    """What is written of a dumped configuration: relative paths, and null for default teachers that
    are not there.
    """
    tree = _relative_paths(dumped)
    if "teachers" in tree:
        absent = DEFAULT_ROLES["teachers"].keys() - tree["teachers"].keys()
        tree["teachers"] |= dict.fromkeys(sorted(absent))
    return tree


def _differing(tree: dict[str, Any], default: dict[str, Any]) -> dict[str, Any]:
    """The tree but for the values that are the same in `default`."""
    rest: dict[str, Any] = {}
    for key, value in tree.items():
        if value and isinstance(value, dict) and isinstance(default.get(key), dict):
            if part := _differing(value, default[key]):
                rest[key] = part
        elif key not in default or value != default[key]:
            rest[key] = value
    return rest


def _without(tree: dict[str, Any], left_out: dict[str, Any]) -> dict[str, Any]:
    """The tree but for the values that stand in `left_out`."""
    rest: dict[str, Any] = {}
    for key, value in tree.items():
        if key not in left_out:
            rest[key] = value
        elif isinstance(value, dict) and (part := _without(value, left_out[key])):
            rest[key] = part
    return rest


def _read_layers(files: Iterable[Path]) -> dict[str, dict[str, Any]]:
    """The sections of each file. A file with `after: OTHER.yaml` holds differences alone: it is
    refused as the first one.
    """
    layers: dict[str, dict[str, Any]] = {}
    for path in files:
        tree = _read(path)
        other = tree.pop("after", None)
        if other is not None and not layers:
            raise ConfigError(
                f"{path}: holds only what differs from another configuration; give that one before "
                f"it: {path.parent / str(other)} {path}"
            )
        layers[str(path)] = _expanded(str(path), tree)
    return layers


def _read(path: Path) -> dict[str, Any]:
    # Of a name that no disk can have, `path.exists` raises.
    if path.stem in packaged_configs() and not os.path.exists(path):  # noqa: PTH110
        target = path.with_suffix(".yaml")
        raise ConfigError(
            f"{path}: cannot read the configuration: No such file; `avrt config copy {path.stem} "
            f"{target}` writes the packaged one of this name to {target}"
        )
    return read_yaml(path)


def _completed(tree: dict[str, Any]) -> dict[str, Any]:
    """The tree with its presets, the default roles and the home folder for `~`."""
    # The files are expanded, so a preset that is refused here was given as `merger={preset: …}`.
    tree = merge_trees(DEFAULT_ROLES, _expanded(COMMAND_LINE, tree))
    for path in NAMED:
        section = _mapping_at(tree, path[:-1])
        if isinstance(named := section.get(path[-1]), dict):
            section[path[-1]] = {name: part for name, part in named.items() if part is not None}
    merger, judges = tree["merger"], tree.get("judges")
    if isinstance(merger, dict) and isinstance(judges, dict):
        shared = {key: merger[key] for key in ("model", "revision", "engine") if key in merger}
        tree["judges"] = {
            name: _with_merger(name, judge, shared)
            if isinstance(judge, dict) and "model" not in judge
            else judge
            for name, judge in judges.items()
        }
    return _with_home(tree)


def _with_merger(name: str, judge: dict[str, Any], shared: dict[str, Any]) -> dict[str, Any]:
    """A judge that names no model, with the merger's; the form of a trace must not come along."""
    body = ("engine", "extra_body")
    held, own = _mapping_at(shared, body), _mapping_at(judge, body)
    for form in _REPLY_FORMS:
        if held.get(form) is not None and form not in own:
            where = ".".join(("judges", str(name), *body, form))
            raise ConfigError(
                f"{where}: the judge takes the merger's engine, whose {form} holds every reply to "
                "the form of a trace; set it to null, or to the form of a judge's reply"
            )
    return merge_trees(shared, judge)


def _refuse_vain_nulls(layers: Mapping[str, dict[str, Any]]) -> None:
    """On the command line, a null that takes nothing out is a name with a slip in it."""
    defaults = Config().model_dump()
    for path in NAMED:
        lower = [defaults, *layers.values()]
        known = {
            str(name)
            for layer in lower
            for name, part in _mapping_at(layer, path).items()
            if part is not None
        }
        for name in map(str, _mapping_at(layers[COMMAND_LINE], path)):
            if name not in known:
                close = difflib.get_close_matches(name, list(known), n=1)
                hint = f"did you mean {close[0]!r}?" if close else f"known: {_listed(known)}"
                where = ".".join((*path, name))
                raise ConfigError(f"{COMMAND_LINE}: {where} = null takes nothing out; {hint}")


def _mapping_at(tree: Any, path: Sequence[str | int]) -> dict[Any, Any]:
    for key in path:
        tree = tree.get(key) if isinstance(tree, dict) else None
    return tree if isinstance(tree, dict) else {}


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"


def _expanded(origin: str, tree: dict[str, Any]) -> dict[str, Any]:
    """The tree with its presets; a refusal names the file, or the command line."""
    try:
        return expand_presets(tree)
    except ConfigError as error:
        raise ConfigError(f"{origin}: {error}") from error


def _apply(tree: dict[str, Any], override: str) -> None:
    """Set the value of an override in the tree; a preset takes over the role that it stands in."""
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(
            f"override {shown(override)} is not of the form section.key=value; files stand before "
            "all overrides"
        )
    try:
        value = parse_yaml(text)
    except yaml.YAMLError as error:
        raise ConfigError(
            f"override {shown(key)}: {shown(text)} is not valid YAML: {error}"
        ) from error
    *sections, name = key.split(".")
    node, layer = tree, {name: value}
    for section in sections:
        if node.get(section) is None:  # not there, or null: switched off
            node[section] = {}
        node = node[section]
        if not isinstance(node, dict):
            raise ConfigError(f"override {shown(key)}: {shown(section)} is a value, not a section")
    for section in reversed(sections):
        layer = {section: layer}
    if _names_preset(override):
        tree.update(merge_trees(tree, _expanded(COMMAND_LINE, layer)))
    elif value != {} or (*sections, name) not in NAMED:  # of those, as in a file, {} changes none
        node[name] = value


def _refuse_repeated(overrides: Sequence[str]) -> None:
    """Refuse a section as a whole behind an override of a part of it, which would be lost; null,
    which takes it out, is meant so. Of two overrides of one setting the later wins, as with files.
    """
    pairs = [override.split("=", 1) for override in overrides]
    for place, (key, *value) in enumerate(pairs):
        for lost, *_ in pairs[:place]:
            if lost.startswith(f"{key}.") and value != ["null"]:
                raise ConfigError(
                    f"{COMMAND_LINE}: {shown(lost)[1:-1]} is set, and then {shown(key)[1:-1]} as a "
                    "whole, without it; name the whole first"
                )


def _names_preset(override: str) -> bool:
    return override.partition("=")[0].endswith((".preset", "grpo.recipe"))


def _wants_text_for_settings(problem: ErrorDetails) -> bool:
    """Whether it is only that settings stand where a text may stand too."""
    return problem["type"] == "string_type" and isinstance(problem["input"], dict)


def _location(tree: Any, problem: ErrorDetails) -> tuple[str | int, ...]:
    """Where in the configuration a problem is, without the names of the types that were tried."""
    where: list[str | int] = []
    for part in problem["loc"]:
        if not isinstance(tree, str):
            with contextlib.suppress(KeyError, TypeError):  # no key: the name of a type
                tree = tree[part]
                where.append(part)
    return (*where, problem["loc"][-1]) if problem["type"] == "missing" else tuple(where)


def _explain(
    layers: dict[str, dict[str, Any]], location: tuple[str | int, ...], problem: ErrorDetails
) -> str:
    loc, value = problem["loc"], problem["input"]
    is_key = not isinstance(value, str) and (problem["type"] == "invalid_key" or "[key]" in loc)
    if is_key:  # the library's location holds the key as something else: False as 0
        location = loc[: loc.index("[key]") - 1] if "[key]" in loc else loc[:-1]
    where = ".".join(str(part) for part in location)
    given = location[:-1] if problem["type"] == "missing" else location
    origins = [origin for origin, layer in layers.items() if layer]
    holders = [origin for origin in origins if _holds(layers[origin], given)]
    origin = holders[-1] if holders else ", ".join(origins)
    if problem["type"] == "extra_forbidden":
        return f"{origin}: unknown key {where!r}{_close(location) or _known(location)}"
    if problem["type"] == "missing":
        return f"{origin}: {where} is missing{_close(location[:-1])}"
    if is_key:
        key = f"the key {json.dumps(value, default=str)} is no text{_quoting(value)}"
        return f"{origin}: {where or 'configuration'}: {key}"
    message = problem["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    message = _EXPECTED.get(problem["type"], message)
    if value is None and location in NAMED:
        message = f"null takes nothing out; take each out by its name, as {where}.NAME=null"
    elif problem["type"] in ("path_type", "string_type"):
        message += _quoting(value)
    name = str(location[-1]) if location else ""
    given_text = "null" if value is None else repr(mask(value, name))
    if isinstance(value, bool):
        given_text = json.dumps(value)
    if problem["type"] == "value_error" and isinstance(value, dict):
        # The message names the settings at fault; the whole section would bury it.
        return f"{origin}: {where or 'configuration'}: {message}"
    return f"{origin}: {where or 'configuration'} = {given_text}: {message}"


def _quoting(value: Any) -> str:
    """What to do about a value that is no text in YAML."""
    if value is None:
        return '; an empty value or an unquoted ~ is null in YAML: write one, or quote ("~", "~/…")'
    if isinstance(value, bool):
        words = "yes, on and true are true" if value else "no, off and false are false"
        return f"; unquoted, {words} in YAML: quote it"
    if isinstance(value, int | float):
        return f"""; quote it: "{value}", on the command line '"{value}"'"""
    return ""


def _holds(layer: Any, location: Sequence[str | int]) -> bool:
    """Whether a file or the command line gives the value that is complained about."""
    for part in location:
        if not isinstance(layer, dict):
            return True  # the location goes on inside a value
        if part not in layer:
            return False
        layer = layer[part]
    return True


def _close(location: tuple[str | int, ...]) -> str:
    """The default setting or role whose name is like the last part, as a question; else empty."""
    name, known = str(location[-1]), _mapping_at(Config().model_dump(), location[:-1])
    close = [] if name in known else difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {'.'.join(map(str, (*location[:-1], *close)))!r}?" if close else ""


def _known(location: tuple[str | int, ...]) -> str:
    known = _mapping_at(Config().model_dump(), location[:-1])
    return f"; known keys: {', '.join(known)}" if known else ""


def _with_home(tree: Any) -> Any:
    """The tree with `~/` at the start of a text expanded: models and prompts may be paths too."""
    if isinstance(tree, dict):
        return {key: _with_home(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_with_home(value) for value in tree]
    if isinstance(tree, str) and (tree == "~" or tree.startswith("~/")):
        return os.path.expanduser(tree)  # noqa: PTH111  # as a text; a Path would drop a slash
    return tree


def _relative_paths(tree: Any) -> Any:
    """Models and prompts are texts that may be paths, so every absolute path counts."""
    if isinstance(tree, dict):
        return {key: _relative_paths(value) for key, value in tree.items()}
    if isinstance(tree, str) and Path(tree).is_absolute():
        relative = os.path.relpath(tree)
        return relative if os.sep in relative else f"./{relative}"  # a path, and no name
    return tree
