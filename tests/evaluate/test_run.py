from __future__ import annotations

import errno
import os
import shutil
from collections import Counter
from dataclasses import replace

import pytest
from click.testing import CliRunner

from avrt import engines
from avrt.cli import cli
from avrt.cli.replay import replay_row
from avrt.config import BenchmarkConfig, EvalModel, dump_config, load_config
from avrt.datasets import read_samples, write_samples
from avrt.engines import make_engine
from avrt.errors import AvrtError, ConfigError, DataError
from avrt.evaluate import Choice, compare, plan, protocol, run
from avrt.evaluate.logs import log_path, read_log
from avrt.evaluate.results import read_results
from avrt.types import Prompt
from failing_opens import fail_opens
from script_engine import scripted

N_ITEMS = 6


@pytest.fixture(autouse=True)
def answers(use_answers):
    """All models guess A, unless a test uses other answers."""
    return use_answers(answer_a)


def answer_a(_: Prompt) -> str:
    return "<think>a guess</think><answer>A</answer>"


def evaluate(config, *, modalities=None, models=("base",), budget=None):
    return run(config, Choice(models=models, modalities=modalities), budget)


def with_eval(config, **fields):
    return config.model_copy(update={"eval": config.eval.model_copy(update=fields)})


def sounds_and_clips(config):
    clips = config.eval.benchmarks["clips"]
    return {"sounds": clips.model_copy(update={"split": "sounds"}), "clips": clips}


def lines_of(config, modality, model="base", bench="clips"):
    return {x.sample_id: x for x in read_log(log_path(config.run.path, bench, model, modality))}


def test_every_item_ends_in_every_log_and_media_are_as_asked(config, answers):
    result = evaluate(config)
    seen = Counter((prompt.frames is not None, prompt.audio is not None) for prompt in answers)
    assert seen == {(False, True): N_ITEMS - 1, (True, False): N_ITEMS, (True, True): N_ITEMS - 1}
    assert result.counts == {"scored": 3 * N_ITEMS - 2, "missing_media": 2}
    for modality in ("a", "v", "av"):
        assert list(lines_of(config, modality)) == [f"q{n}" for n in range(N_ITEMS)]


def test_the_text_is_the_same_in_all_modalities(config):
    evaluate(config)
    a, v, av = (lines_of(config, modality)["q0"] for modality in ("a", "v", "av"))
    assert a.prompt_digest == v.prompt_digest == av.prompt_digest
    assert (a.frames_digest, v.audio_digest) == (None, None)
    assert (av.frames_digest, av.audio_digest) == (v.frames_digest, a.audio_digest)


def test_an_item_without_sound_stays_in_the_denominator(config, bench_root):
    evaluate(config)
    line = lines_of(config, "a")["q5"]
    assert (line.status, line.error_class, line.correct) == ("missing_media", "no_audio", False)
    accuracy = {r.modality: r.accuracy for r in read_results(config)}["a"]
    assert (accuracy.k, accuracy.n) == (2, N_ITEMS)
    log = log_path(config.run.path, "clips", "base", "a").read_text()
    assert str(bench_root) not in log


@pytest.mark.parametrize(
    ("named", "near"),
    [("Clip 1.mp4", True), ("clip-1.mp4", True), ("clip1 .mp4", True), ("other.mp4", False)],
)
def test_a_missing_file_is_named_with_the_one_that_is_like_it(
    config, tmp_path, bench_root, capsys, named, near
):
    root = tmp_path / "set"
    shutil.copytree(bench_root, root)
    shutil.copy(root / "clip.mp4", root / "clip1.mp4")
    data = config.eval.benchmarks["clips"].model_copy(update={"root": root})
    first, second, *_ = read_samples(data)
    write_samples(root / "clips.parquet", [first, replace(second, video=named)])
    config = with_eval(config, benchmarks={"clips": data})
    planned = plan(config)
    result = evaluate(config)
    for text in (planned, capsys.readouterr().out):
        assert f"clips: 1 of 2 media files are missing, such as {named}" in text
        assert (f"{named!r} is missing, but 'clip1.mp4' is there" in text) is near
    assert "1 without media (1 missing)" in result.summary
    assert "missing" not in plan(config, Choice(modalities=["none"]))


@pytest.mark.parametrize("how", ["killed", "EACCES", "EIO", "EMFILE", "ENOENT"])
def test_items_whose_clip_cannot_be_read_now_are_no_result_and_come_with_the_same_command(
    config, tmp_path, monkeypatch, answers, how
):
    file = tmp_path / "config.yaml"
    file.write_text(dump_config(config))
    command = ["eval", str(file), "--model", "base", "--modality", "v"]
    with monkeypatch.context() as patch:
        fail_opens(patch, tmp_path / "hooks", "silent.mp4", how)
        lost = CliRunner().invoke(cli, command)
    error_class = {"killed": "killed", "EACCES": "permission", "ENOENT": "missing"}
    error_class = error_class.get(how, "unreadable")
    assert lost.exit_code == 1, lost.output
    assert "eval: 1 questions were not asked, since their media could not be read" in lost.output
    assert f"(1 {error_class}; the first: " in lost.output
    line = lines_of(config, "v")["q5"]
    assert (line.status, line.error_class, line.key) == ("failed", error_class, None)
    assert len(answers) == N_ITEMS - 1
    mended = CliRunner().invoke(cli, command)
    assert mended.exit_code == 0, mended.output
    assert lines_of(config, "v")["q5"].status == "scored"
    assert len(answers) == N_ITEMS


@pytest.mark.parametrize("how", [errno.EACCES, errno.EIO, errno.EMFILE])
def test_a_file_that_cannot_be_digested_now_stops_before_anything_is_asked(
    config, monkeypatch, answers, how
):
    digest = protocol.file_digest
    attempts = []

    def fail(path):
        if path.name == "silent.mp4":
            attempts.append(path)
            raise OSError(how, os.strerror(how), str(path))
        return digest(path)

    with monkeypatch.context() as patch:
        patch.setattr(protocol, "file_digest", fail)
        with pytest.raises(AvrtError, match="1 media files cannot be read now") as caught:
            evaluate(config)
    assert (caught.value.exit_code, len(attempts), answers) == (1, 2, [])
    evaluate(config, modalities=("v",))
    assert lines_of(config, "v")["q5"].status == "scored"


def test_a_modality_that_no_item_has_is_skipped_and_said(config, bench_root, capsys):
    sounds = BenchmarkConfig(format="parquet", root=bench_root, split="sounds")
    config = with_eval(config, benchmarks={"sounds": sounds})
    evaluate(config)
    assert "sounds: no item has V, AV; skipped" in capsys.readouterr().out
    assert [r.modality for r in read_results(config)] == ["a"]


def test_too_many_failed_calls_are_an_error_after_all_is_stored_and_shown(
    config, use_answers, capsys
):
    def answer(prompt: Prompt) -> str | None:
        return None if prompt.frames is not None else answer_a(prompt)

    use_answers(answer)
    refusal = r"eval, base: 11 of 16 calls failed \(11 no_reply; .*max_failure_rate = 0\.2"
    with pytest.raises(AvrtError, match=refusal):
        run(config)
    logs = {(r.model, r.modality): r.counts for r in read_results(config)}
    assert logs["base", "v"] == logs["other", "v"] == {"failed": N_ITEMS}
    assert logs["other", "a"]["scored"] == N_ITEMS - 1
    shown = capsys.readouterr().out
    assert "base V: invalid –, 0 pictures scaled down, 6 failed" in shown
    assert "22 of 32 calls failed (22 no_reply); repeat the command to try them again" in shown
    asked = use_answers(answer_a)
    assert "calls failed" not in run(config).summary
    assert len(asked) == 22


def test_a_command_with_only_failed_calls_exits_with_1(config, tmp_path, use_answers):
    use_answers(lambda _: None)
    saved = tmp_path / "config.yaml"
    saved.write_text(dump_config(config))
    done = CliRunner().invoke(cli, ["eval", str(saved), "--model", "base", "--modality", "v"])
    assert done.exit_code == 1
    assert "6 of 6 calls failed (6 no_reply); repeat the command" in done.output


def test_a_failed_call_is_counted_and_tried_again_by_the_same_command(config, use_answers):
    use_answers(lambda prompt: None if "Question 0" in prompt.text else "I cannot tell")
    first = evaluate(config, modalities=["v"])
    assert first.counts == {"failed": 1, "unparsable": N_ITEMS - 1}
    assert "0.0 % [0.0, 39.0]" in first.summary
    assert (
        "base V: invalid 100.0 %, 0 pictures scaled down, 5 unparsable, 1 failed" in first.summary
    )
    assert "1 of 6 calls failed (1 no_reply); repeat the command to try them again" in first.summary
    asked = use_answers(answer_a)
    again = evaluate(config, modalities=["v"])
    assert ["Question 0" in prompt.text for prompt in asked] == [True]
    assert again.counts == {"scored": 1, "unparsable": N_ITEMS - 1}


def test_an_interrupted_run_has_logs_and_goes_on_where_it_stopped(config, use_answers):
    class Killed(BaseException):
        pass

    asked: Counter[str] = Counter()

    def dying(prompt: Prompt) -> str:
        if sum(asked.values()) == 7:
            raise Killed
        return surviving(prompt)

    def surviving(prompt: Prompt) -> str:
        asked[f"{prompt.text}{prompt.frames is None}{prompt.audio is None}"] += 1
        return answer_a(prompt)

    use_answers(dying)
    with pytest.raises(Killed):
        evaluate(config)
    assert "not evaluated yet" in str([r.notes for r in read_results(config)])
    assert sum(len(r.lines) for r in read_results(config)) >= 7
    use_answers(surviving)
    evaluate(config)
    assert set(asked.values()) == {1}
    assert sum(asked.values()) == 3 * N_ITEMS - 2


def test_a_model_is_loaded_once_and_not_at_all_when_nothing_is_left(config, monkeypatch, tmp_path):
    opened: Counter[str] = Counter()

    def make(settings, model, revision, media, export=None):
        nonlocal opened
        opened[model] += 1
        return make_engine(settings, model, revision, media, export)

    monkeypatch.undo()  # the answers of all other tests
    monkeypatch.setattr(engines, "make_engine", make)
    engine = scripted(tmp_path, {"": "<answer>A</answer>"})
    models = {
        name: EvalModel.model_validate({"model": name, "engine": engine}) for name in ("x", "y")
    }
    config = with_eval(config, models=models, benchmarks=sounds_and_clips(config))
    run(config)
    first, opened = opened, Counter()
    run(config)
    assert first - opened == {"x": 1, "y": 1}  # a script is read for its identity in both


def test_other_settings_are_refused_before_a_model_is_asked(config, answers):
    evaluate(config)
    answers.clear()
    with pytest.raises(ConfigError, match=r"other settings \(max_new_tokens\)"):
        evaluate(with_eval(config, max_new_tokens=9))
    assert not answers


def test_deleting_the_log_is_enough_to_evaluate_with_other_settings(config, answers):
    evaluate(config, modalities=["v"])
    log_path(config.run.path, "clips", "base", "v").unlink()
    answers.clear()
    result = evaluate(with_eval(config, max_new_tokens=9), modalities=["v"])
    assert (len(answers), result.counts) == (N_ITEMS, {"scored": N_ITEMS})


def test_a_changed_question_is_refused(config, bench_root, tmp_path):
    evaluate(config)
    samples = list(read_samples(config.eval.benchmarks["clips"]))
    other = tmp_path / "bench"
    other.mkdir()
    for name in ("clip.mp4", "silent.mp4"):
        (other / name).symlink_to(bench_root / name)
    write_samples(other / "clips.parquet", samples[1:])
    moved = with_eval(
        config, benchmarks={"clips": BenchmarkConfig(format="parquet", root=other, split="clips")}
    )
    with pytest.raises(ConfigError, match=r"other settings \(questions\)"):
        evaluate(moved)


def test_a_modality_that_is_asked_twice_is_evaluated_once(config):
    result = evaluate(config, modalities=["av", "av"])
    assert result.counts.total() == N_ITEMS
    assert len(lines_of(config, "av")) == N_ITEMS


def test_a_refused_evaluation_changes_nothing(config):
    first = with_eval(config, models={"other": "some/other"}, limit=2)
    evaluate(first, models=None, modalities=["v"])
    before = {p: p.read_bytes() for p in config.run.path.rglob("*") if p.is_file()}
    changed = with_eval(config, max_new_tokens=9, benchmarks=sounds_and_clips(config))
    with pytest.raises(ConfigError, match="other settings"):
        run(changed)
    assert {p: p.read_bytes() for p in config.run.path.rglob("*") if p.is_file()} == before


def test_the_whole_configuration_is_saved(config):
    evaluate(config, modalities=["v"])
    saved = load_config(config.run.path / "config.yaml", ())
    assert saved.eval.models == config.eval.models
    assert saved.eval.modalities == config.eval.modalities


def test_a_wrong_folder_is_named_by_its_benchmark(config, tmp_path):
    absent = BenchmarkConfig(format="parquet", root=tmp_path / "absent", split="clips")
    with pytest.raises(
        ConfigError, match=r"^eval\.benchmarks\.mine: .*eval\.benchmarks\.mine\.root"
    ):
        run(with_eval(config, benchmarks={"mine": absent}))


def test_a_larger_limit_adds_the_missing_items(config):
    evaluate(with_eval(config, limit=2))
    assert list(lines_of(config, "v")) == ["q0", "q1"]
    evaluate(config)
    assert list(lines_of(config, "v")) == [f"q{n}" for n in range(N_ITEMS)]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"benchmarks": {}}, "eval.benchmarks is empty"),
        ({"models": {"../x": "base"}}, "'../x' becomes a folder"),
        ({"models": {"sft": "sft"}}, "run `avrt sft`"),
    ],
)
def test_wrong_use_is_refused(config, fields, message):
    for use in (plan, run):
        with pytest.raises(ConfigError, match=message):
            use(with_eval(config, **fields))


def test_an_unknown_model_is_refused(config):
    with pytest.raises(ConfigError, match=r"'nope' is not in eval.models; known: base, other"):
        evaluate(config, models=["nope"])


def test_an_empty_benchmark_is_refused(config, tmp_path):
    write_samples(tmp_path / "none.parquet", [])
    empty = BenchmarkConfig(format="parquet", root=tmp_path, split="none")
    with pytest.raises(DataError, match=r"eval.benchmarks.empty: no questions"):
        run(with_eval(config, benchmarks={"empty": empty}))


def test_two_models_are_compared_on_the_same_items(config, use_answers):
    for model, letter in (("base", "A"), ("other", "B")):
        use_answers(lambda _, letter=letter: f"<answer>{letter}</answer>")
        evaluate(config, models=[model])
    text = compare(config, "base", "other")
    assert "clips V   +0.0 points" in text
    assert "n = 6, only first right 2, only second right 2, p = 1.000" in text
    with pytest.raises(ConfigError, match="no log of model 'nope'"):
        compare(config, "base", "nope")


def test_the_plan_names_models_benchmarks_and_items(config):
    text = plan(with_eval(config, limit=4))
    assert "eval: clips, 4 items by A, V, AV, model other: some/other (transformers" in text


def test_a_call_about_a_set_that_is_not_configured_is_shown_and_never_sent(
    config, answers, monkeypatch
):
    evaluate(config, modalities=["av"])
    line = lines_of(config, "av")["q0"]
    monkeypatch.chdir(config.eval.benchmarks["clips"].root)  # holds files of those names
    without = with_eval(config, benchmarks={})
    shown = replay_row(without, line.key)
    assert shown.count("file unknown: eval.benchmarks.clips is not configured") == 2
    assert "CHANGED" not in shown
    answers.clear()
    with pytest.raises(DataError, match=r"^eval\.benchmarks\.clips is not configured; name it, wi"):
        replay_row(without, line.key, send=True)
    assert answers == []


def test_every_line_leads_to_its_call_which_can_be_replayed(config, answers):
    evaluate(config, modalities=["av"])
    line = lines_of(config, "av")["q0"]
    shown = replay_row(config, line.key, send=True)
    assert "# Call 1 of 1: eval, base" in shown
    assert "equal to the stored one" in shown
    assert "CHANGED" not in shown
    assert answers[-1].audio is not None
