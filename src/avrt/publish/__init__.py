"""Publish: a folder for the Hub out of a run's dataset, student or page, checked before it is sent.

Reads the run directory; writes RUN/publish/NAME or another folder, which is complete or as it was
before: the files, a card, `avrt.yaml` (settings), `avrt.json` (what made it and what it holds). The
Hub is asked only with `push`.

The decision to question: nothing of a clip is published unless a page is asked for with its media:
the clips belong to others.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from avrt import __version__, report
from avrt.checkpoints.omni import read_checkpoint
from avrt.config import Config, DataConfig, EngineConfig, EvalConfig, Section
from avrt.errors import ConfigError, DataError
from avrt.evaluate.results import ModelResult, read_results
from avrt.exchange.exports.formats import ExportOptions
from avrt.exchange.exports.hub import HUB
from avrt.prompts import load_prompt
from avrt.publish import cards, terms
from avrt.publish.check import Private, find_problems
from avrt.publish.hub import check_repo, push, require_token
from avrt.publish.provenance import (
    Manifests,
    commands_of,
    dataset_stages,
    list_files,
    refuse_foreign,
    run_fingerprint,
    trained_stages,
    write_record,
    write_settings,
)
from avrt.publish.terms import Term
from avrt.report.paper import load_other
from avrt.runs import Result, file_digest, manifest_path, read_manifest, replace_folder

__all__ = ["Kind", "PublishOptions", "run"]

Kind = Literal["dataset", "model", "report"]
_SHOWN_PROBLEMS = 10


@dataclass(frozen=True)
class PublishOptions:
    """How to publish."""

    repo: str | None = None
    """NAME/ID of the repository on the Hub."""
    output: Path | None = None
    """The folder; None: RUN/publish/NAME."""
    push: bool = False
    """Upload the folder when it is complete."""
    public: bool = False
    """Make a repository that is new public."""
    licences: Mapping[str, str] = field(default_factory=dict)
    """Licences that AVRT does not know, or that were checked, by the role of their part."""
    student: str | None = None
    """Of a model: the training; None: `grpo` where it was done, else `sft`."""
    base: str | None = None
    """Of a model: the hub id of the base, where `student.model` is a folder."""
    page: str | None = None
    """Of a dataset or model: NAME/ID of the Space with the page of the run, for its card."""
    with_media: bool = False
    """Of a page: pictures and sounds of its items."""
    others: Sequence[str] = ()
    """Of a page: runs whose numbers stand beside this one, by name or folder."""


@dataclass(frozen=True)
class _Made:
    """What is published: the stages that made it, by which commands, and the terms it comes
    under.
    """

    stages: Manifests
    commands: Sequence[str]
    terms: Sequence[Term]
    note: str = ""
    """For its card."""


def run(config: Config, kind: Kind, options: PublishOptions) -> Result:
    """Build the folder, check it, and push it where that is asked for.

    Raises:
        ConfigError: no token, a folder or repository of another, a part without a known licence
            that is to be pushed, results of another state of the model.
        DataError: what is to be published is not finished, or may not be published as it is.
        AvrtError: the Hub refused.
    """
    path, source, student, fault = config.run.path, config.data, "", ""
    token = _check_use(options)
    others = [load_other(config.run.dir, name) for name in options.others]
    if kind == "model":
        student = _student(path, options.student)
        made = _made_model(path, student, options.base, source)
    elif kind == "dataset":
        stages = dataset_stages(path)
        made = _Made(stages, commands_of(stages), terms.dataset_terms(path, stages, source))
    else:
        made = _made_report(path, source, config.eval.benchmarks)
        beside = [_made_report(o.run.path, o.data, o.eval.benchmarks).stages for o in others]
        made = replace(made, note=_beside(zip([o.run.name for o in others], beside, strict=True)))
    made = replace(made, terms=terms.name_licences(made.terms, options.licences))
    unknown = [term.role for term in made.terms if term.licence is None]
    if unknown and options.push:
        raise ConfigError(f"--push: {_unknown(unknown)}")
    name = student or kind
    folder = options.output or path / "publish" / name
    refuse_foreign(folder, kind)
    title = options.repo.partition("/")[2] if options.repo else f"{config.run.name} {name}"
    private = _private(
        [(each.eval, each.data.root, each.run.path) for each in (config, *others)],
        [secret for each in (config, *others) for secret in _secrets(each)],
    )
    results = read_results(config, with_texts=False)
    texts = {
        "evaluation": cards.page_text(options.page) + cards.evaluation_text(results, config.eval),
        "provenance": cards.provenance_text(config.run.name, made.stages, made.commands, made.note),
    }
    with replace_folder(folder) as out:
        if kind == "dataset":
            card = _write_dataset(path, out, options, made, texts)
        elif kind == "model":
            own = _own_results(results, config.eval, path, student)
            trained = path / student / "model"
            shown = _describe(trained, title, made, config.student.prompt, own)
            _write_model(trained, out, shown)
            card = cards.model_card(shown, options.repo, made.terms, texts)
        else:
            fault = report.run(config, out, options.with_media, options.others).fault
            card = cards.report_card(title, made.terms, texts)
        (out / "README.md").write_text(card, encoding="utf-8")
        if terms.licence_fields(made.terms)["license"] == "other":
            (out / "LICENSE.md").write_text(cards.licence_text(made.terms), encoding="utf-8")
        write_settings(path, out)
        write_record(out, kind, config.run.name, made.stages, made.commands)
        _refuse_problems(out, folder, list(find_problems(out, kind, private, options.with_media)))
    address = ""
    if token is not None and options.repo:
        message = f"AVRT {__version__}: {name} of run {run_fingerprint(made.stages)}"
        address = push(folder, options.repo, kind, message, token, options.public)
    return _summarize(folder, kind, unknown, address, fault)


def _check_use(options: PublishOptions) -> str | None:
    """The token to push with; refuses what cannot be pushed before anything is made."""
    for option, repo in (("--repo", options.repo), ("--page", options.page)):
        if repo is not None:
            check_repo(option, repo)
    if not options.push:
        return None
    if options.repo is None:
        raise ConfigError("--push: name the repository with --repo NAME/ID")
    return require_token()


def _student(run: Path, named: str | None) -> str:
    if named is not None:
        return named
    return "grpo" if (run / "manifests" / "grpo.json").is_file() else "sft"


def _made_report(run: Path, source: DataConfig, benchmarks: Mapping[str, DataConfig]) -> _Made:
    """A page shows all stages of the run, and questions of its benchmarks with their answers."""
    stages: Manifests = {}
    found: list[Term] = []
    commands: dict[str, None] = {}
    if any(manifest_path(run, name).is_file() for name in ("build", "import")):
        stages |= dataset_stages(run)
        found += terms.dataset_terms(run, stages, source)
        commands |= dict.fromkeys(commands_of(stages))
    for path in sorted((run / "manifests").glob("*.json"), key=lambda path: path.stem != "sft"):
        if path.stem.startswith(("sft", "grpo")) and (run / path.stem / "model").is_dir():
            trained, _ = trained_stages(run, path.stem)
            stages |= trained
            commands |= dict.fromkeys(commands_of(trained))
    for name, data in benchmarks.items():
        if (run / "eval" / name).is_dir():
            found.append(terms.questions_term(name, data))
    return _Made(stages, list(commands), found)


def _made_model(run: Path, student: str, base: str | None, source: DataConfig) -> _Made:
    """A student has the terms of its base, and those of the texts that it learned."""
    trained, began = trained_stages(run, student)
    found = [terms.base_term(base or began)]
    note, data_stages = "", {}
    if "sft" in trained:
        data_stages = dataset_stages(run)
        found += terms.dataset_terms(run, data_stages, source)
        if not _learned(run):
            note = "The dataset was made again after the training; the stages before are its own."
    stages = {**data_stages, **trained}
    return _Made(stages, commands_of(stages), found, note)


def _learned(run: Path) -> bool:
    """Whether SFT was done on the dataset as it is now."""
    manifest, train = manifest_path(run, "sft"), run / "dataset" / "train.parquet"
    if not manifest.is_file():
        return False
    return read_manifest(manifest)["inputs"].get(train.name) == file_digest(train)


def _unknown(roles: Sequence[str]) -> str:
    named = " ".join(f'--licence {role}="NAME: WHAT IT MEANS"' for role in roles)
    return f"no licence is known of: {', '.join(roles)}; name each, as {named}"


def _write_dataset(
    run: Path,
    out: Path,
    options: PublishOptions,
    made: _Made,
    texts: Mapping[str, str],
) -> str:
    """Write the files of the dataset; its card comes back."""
    HUB.write(out, {"train": (), "validation": ()}, ExportOptions(), run)
    card = (out / "README.md").read_text(encoding="utf-8")
    if not any(entry["config_name"] == "default" for entry in cards.split_card(card)[0]["configs"]):
        raise DataError(f"{run / 'dataset'}: has no rows to publish")
    if not _learned(run):
        nobody = "No student of the run was trained on this state of the dataset."
        texts = {**texts, "evaluation": cards.page_text(options.page) + nobody}
    return cards.dataset_card(card, options.repo, made.terms, texts)


def _write_model(source: Path, out: Path, student: cards.Student) -> None:
    for path in sorted(source.iterdir()):
        if path.name not in ("README.md", "training_args.bin"):
            _take(path, out / path.name)
    (out / cards.PROMPT).write_text(cards.prompt_text(student.prompt), encoding="utf-8")


def _describe(
    source: Path, title: str, made: _Made, prompt: str, results: Sequence[ModelResult]
) -> cards.Student:
    trained = {name: stage for name, stage in made.stages.items() if "student" in stage["settings"]}
    template = load_prompt(prompt)
    settings = trained[[*trained][-1]]["settings"]
    if template.digest != settings["student"]["prompt"]:
        raise ConfigError(
            f"student.prompt = {prompt}: the model was trained with another prompt; name that one"
        )
    config, _ = read_checkpoint(source, "thinker")
    return cards.Student(title, config["architectures"][0], trained, template, results)


def _take(source: Path, target: Path) -> None:
    """Give a file a second name where that is possible, so that weights are not there twice."""
    if source.suffix == ".safetensors":
        try:
            os.link(source, target)
            return
        except OSError:  # another disk, or a file system without links
            pass
    shutil.copyfile(source, target)


def _own_results(
    results: Sequence[ModelResult], settings: EvalConfig, run: Path, student: str
) -> list[ModelResult]:
    """The results of a student.

    Raises:
        ConfigError: they are of another state of its model.
    """
    models = {
        name: model if isinstance(model, str) else model.model
        for name, model in settings.models.items()
    }
    own = [result for result in results if models.get(result.model) == student]
    if not own:
        return []
    from avrt.engines.weights import model_identity

    revision = model_identity(str(run / student / "model"), None)["revision"]
    for result in own:
        model = result.settings.model
        if model.get("model") == "local" and model.get("revision") != revision:
            raise ConfigError(
                f"{run / 'eval' / result.benchmark / result.model}: results of another state of "
                f"{student}; delete that folder and run `avrt eval` again"
            )
    return own


def _private(runs: Iterable[tuple[EvalConfig, Path, Path]], secrets: Iterable[str]) -> Private:
    """What belongs to this machine: of each run the evaluation, the data's root and the folder."""
    places = [Path.home(), Path.cwd()]
    for evaluation, *own in runs:
        places += [*own, *(data.root for data in evaluation.benchmarks.values())]
    folders = {str(place.resolve()) for place in places}
    # Short ones, such as /data, stand in texts by chance.
    return Private(
        frozenset(path for path in folders if path.count("/") > 1), tuple(dict.fromkeys(secrets))
    )


def _beside(others: Iterable[tuple[str, Manifests]]) -> str:
    """Which runs' numbers stand on a page besides its own."""
    named = [f"`{name}` (fingerprint `{run_fingerprint(stages)}`)" for name, stages in others]
    return f"Beside it stand numbers of other runs: {', '.join(named)}." if named else ""


def _secrets(settings: Section) -> tuple[str, ...]:
    """The secrets of all engines in a configuration, and the token for the Hub."""
    from huggingface_hub import get_token

    from avrt.config.secrets import hidden_forms

    found = {secret for engine in _engines(settings) for secret in engine.secrets()}
    return (*sorted(found), *hidden_forms(filter(None, [get_token()])))


def _engines(value: Any) -> Iterator[EngineConfig]:
    if isinstance(value, EngineConfig):
        yield value
    elif isinstance(value, Section):
        yield from _engines(dict(value))
    elif isinstance(value, dict):
        for part in value.values():
            yield from _engines(part)


def _refuse_problems(out: Path, folder: Path, problems: Sequence[str]) -> None:
    if problems:
        more = len(problems) - _SHOWN_PROBLEMS
        shown = [f"  {problem}".replace(str(out), str(folder)) for problem in problems]
        shown = shown[:_SHOWN_PROBLEMS] + ([f"  and {more} more"] if more > 0 else [])
        raise DataError(
            "\n".join([f"{folder}: not written, because it may not be published so:", *shown])
        )


def _summarize(
    folder: Path, kind: Kind, unknown: Sequence[str], address: str, fault: str
) -> Result:
    files = list_files(folder)
    size = sum(path.stat().st_size for path in files)
    lines = [f"publish {kind}: {len(files)} files, {size / 2**20:,.1f} MiB, checked, in {folder}"]
    if unknown:
        lines.append(_unknown(unknown))
    if address:
        lines.append(f"pushed: {address}")
    else:
        lines.append("not pushed; repeat it with --push --repo NAME/ID to do so")
    return Result("\n".join(lines), {"files": len(files), "bytes": size}, fault)
