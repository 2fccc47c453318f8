"""What models get of a clip, what of it is cut, and the prompts that they are asked with."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from avrt.config import Config, MediaConfig, load_config
from avrt.config.baselines import baselines
from avrt.datasets import read_items
from avrt.errors import ConfigError
from avrt.evaluate import Choice, compare, plan, run
from avrt.evaluate.benchmarks import BENCHMARKS, media_of, render
from avrt.evaluate.logs import log_path, read_log
from avrt.evaluate.questions import fill_question
from avrt.evaluate.results import read_results
from avrt.evaluate.to_json import results_to_json
from avrt.media import encode_wav
from avrt.prompts import load_prompt
from avrt.types import Waveform
from benchmark_sets import rows_of, write_set
from clips import encode_clip, tone
from script_engine import scripted

ROOT = Path(__file__).parents[2]
LONG_S = 12.0
"""Longer than the ten seconds that teachers hear."""


@pytest.fixture(scope="module")
def sets(tmp_path_factory) -> Path:
    """MMAR and Daily-Omni as their authors lay them out, all clips of `LONG_S`."""
    root = tmp_path_factory.mktemp("sets")
    write_set(root / "mmar", "mmar")
    write_set(root / "daily", "daily_omni")
    sound = encode_wav(Waveform(tone(LONG_S, rate_hz=16_000)[0]))
    (root / "mmar" / "audio").mkdir()
    for row in rows_of("mmar"):
        (root / "mmar" / row["audio_path"]).write_bytes(sound)
    for name in {row["video_id"] for row in rows_of("daily_omni")}:
        folder = root / "daily" / "Videos" / name
        folder.mkdir(parents=True)
        frames = {"n_frames": round(5 * LONG_S), "fps": 5, "size": (56, 56)}
        encode_clip(folder / f"{name}_video.mp4", **frames)
        (folder / f"{name}_audio.wav").write_bytes(sound)
    return root


@pytest.fixture
def paper(sets, tmp_path):
    """Load the paper's evaluation with scripted models on the small sets."""
    script = scripted(tmp_path, {"": "<think>A guess.</think><answer>A</answer>"})
    engine = f"{{kind: scripted, script: {script['script']}}}"

    def load(*overrides: str) -> Config:
        return load_config(
            [ROOT / "configs/paper.yaml", ROOT / "configs/paper-eval.yaml"],
            (
                f"run.dir={tmp_path}",
                "media.workers=0",
                "eval.benchmarks.omnibench=null",
                "eval.benchmarks.avqa=null",
                f"eval.benchmarks.mmar.root={sets / 'mmar'}",
                f"eval.benchmarks.daily_omni.root={sets / 'daily'}",
                f"eval.models.base.engine={engine}",
                f"eval.models.base_think={{model: base, engine: {engine}}}",
                f"eval.models.sft={{model: own/student, engine: {engine}}}",
                *overrides,
            ),
        )

    return load


def report(config: Config) -> str:
    """The tables of the page."""
    from avrt.report import page

    page.run(config, with_media=False)
    tables = sorted((config.run.path / "report" / "tables").glob("*.md"))
    return "\n".join(table.read_text(encoding="utf-8") for table in tables)


OWN = Choice(models=("base", "base_think", "sft"), modalities=("a", "av"))
SOUNDS = Choice(models=OWN.models, modalities=("a",), benchmarks=("mmar",))


def test_the_papers_evaluation_gives_whole_sounds_and_the_authors_frames(paper):
    config = paper()
    planned = plan(config, OWN)
    given = "prompt direct, 2 frames per second, at most 768 and all sound, protocol"
    assert f"tokens), {given}" in planned
    summary = run(config, OWN).summary
    assert summary.count(" 0 sounds cut") == 3 * (1 + 2)
    assert summary.count(" 0 pictures scaled down") == 3
    for bench, modality in (("mmar", "a"), ("daily_omni", "a"), ("daily_omni", "av")):
        lines = read_log(log_path(config.run.path, bench, "base", modality))
        assert {(line.audio_s, line.source_audio_s) for line in lines} == {(LONG_S, LONG_S)}
    # Two frames per second, as Qwen's loader takes them.
    assert {(line.n_frames, line.source_pixels) for line in lines} == {(2 * LONG_S, 56 * 56)}


def test_base_and_student_differ_in_their_prompt_alone_and_may_be_compared(paper):
    config = paper()
    summary = run(config, SOUNDS).summary
    assert "protocols differ in the prompt alone (base direct, base_think student, sft " in summary
    text = compare(config, "base", "sft")
    assert "(direct / student)" in text
    assert text.splitlines()[1].partition(": ")[2].startswith("prompt: ")
    assert "only the prompts differ" in text
    assert "only the prompts differ" not in compare(config, "base_think", "sft")
    page = report(config)
    assert "+0.0 to base (another prompt)" in page
    assert "Protocols differ in the prompt alone: " in page
    run(paper("eval.models.sft.max_new_tokens=9", "run.name=short"), SOUNDS)
    with pytest.raises(ConfigError, match=r"(?s)max_new_tokens: 1024 / 9; prompt: .*--force"):
        compare(paper("run.name=short"), "base", "sft")
    with pytest.raises(ConfigError, match=r"max_new_tokens: 1024 / 9\n"):  # no prompts are named
        compare(paper("run.name=short"), "base_think", "sft")


def test_what_is_cut_is_counted_and_the_log_has_the_true_seconds(paper):
    config = paper(
        "eval.benchmarks.mmar.media.max_audio_s=10",
        "eval.benchmarks.daily_omni.media.max_pixels=784",
    )
    summary = run(config, OWN).summary
    assert summary.count("thought 2 words, 3 sounds cut") == 3
    assert summary.count("0 sounds cut, thought 2 words, 3 pictures scaled down") == 3
    (line, *_) = read_log(log_path(config.run.path, "mmar", "base", "a"))
    assert (line.audio_s, line.source_audio_s) == (10.0, LONG_S)
    (line, *_) = read_log(log_path(config.run.path, "daily_omni", "base", "av"))
    assert (line.frame_pixels, line.source_pixels) == (784, 56 * 56)
    counts = {
        (row["benchmark"], row["modality"]): (row["cut_sounds"], row["scaled_pictures"])
        for row in results_to_json(config)
    }
    assert counts == {
        ("mmar", "a"): (3, None),
        ("daily_omni", "a"): (0, None),
        ("daily_omni", "av"): (0, 3),
    }


def test_calls_of_earlier_versions_have_unknown_sizes(paper):
    config = paper()
    run(config, SOUNDS)
    with closing(sqlite3.connect(config.run.path / "ledger.sqlite")) as ledger, ledger:
        for key, files in ledger.execute("SELECT key, files_json FROM calls").fetchall():
            short = {kind: file[:2] for kind, file in json.loads(files).items()}
            ledger.execute(
                "UPDATE calls SET files_json = ? WHERE key = ?", (json.dumps(short), key)
            )
    for log in config.run.path.glob("eval/*/*/*.jsonl"):
        log.unlink()
    assert "sounds cut" not in run(config, SOUNDS).summary
    assert {result.cut_sounds for result in read_results(config)} == {None}


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("media.max_audio_s=3", (None, 768, 2.0)),
        ("eval.benchmarks.daily_omni.media={fps: null, n_frames: 16}", (None, 16, None)),
        ("eval.benchmarks.daily_omni.media.max_audio_s=30", (30.0, 768, 2.0)),
        ("eval.models.base.media={fps: null, n_frames: 4}", (None, 4, None)),
    ],
)
def test_settings_of_a_set_win_over_its_authors_and_those_of_a_model_over_both(
    paper, override, expected
):
    def protocol_of(config: Config) -> str:
        (line,) = (x for x in plan(config, choice).splitlines() if x.startswith("eval: daily"))
        return line.rpartition(" ")[2]

    choice = Choice(models=("base",), benchmarks=("daily_omni",), modalities=("av",))
    config = paper(override)
    given = config.eval.models["base"].media.over(
        media_of(config.eval.benchmarks["daily_omni"], config.media)
    )
    assert (given.max_audio_s, given.n_frames, given.fps) == expected
    is_same = override == "media.max_audio_s=3"  # that of the teachers
    assert (protocol_of(config) == protocol_of(paper())) is is_same


def test_own_sets_get_what_media_says(tmp_path):
    data = write_set(tmp_path, "parquet")
    media = MediaConfig(n_frames=5, max_audio_s=2.0)
    assert media_of(data, media) == media


@pytest.mark.parametrize("name", sorted(BENCHMARKS.keys() - {"parquet", "webdataset"}))
def test_no_set_of_others_is_cut_at_ten_seconds(tmp_path, name):
    given = media_of(write_set(tmp_path, name), MediaConfig())
    assert given.max_audio_s is None or given.max_audio_s == 300.0
    assert f"max_audio_s={'null' if given.max_audio_s is None else '300'}" in render(name)


def test_a_prompt_that_names_the_number_of_frames_needs_an_even_one(paper):
    overrides = ("eval.models.base.prompt=vision", "eval.models.base.media={n_frames: 8}")
    choice = Choice(models=("base",), modalities=("av",))
    with pytest.raises(ConfigError, match=r"eval\.models\.base\.media='\{fps: null, n_frames: 8\}"):
        plan(paper(*overrides), choice)
    plan(paper(*overrides, "eval.models.base.media.fps=null"), choice)


@pytest.mark.parametrize(
    "override",
    [
        "eval.models.base.media.n_frames=3",
        "eval.benchmarks.daily_omni.media={n_frames: 3, fps: 1}",
    ],
)
def test_a_rate_with_fewer_frames_than_it_takes_is_refused(paper, override):
    with pytest.raises(ConfigError, match=r"daily_omni gives .* n_frames = 3 is less; set fps"):
        plan(paper(override), Choice(models=("base",), modalities=("av",)))
    with pytest.raises(ConfigError, match=r"media: n_frames = 3 is the most frames"):
        paper("media.n_frames=3", "media.fps=1")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("Answer.", "would not see the question"),
        ("{options}", "would not see the question"),
        ("{question}", "would not see the options"),
        ("{question} {options} {answer}", r"no value for placeholder \{answer\}"),
        ("[system]\n{media}\n[user]\n{question} {options}", r"no value for placeholder \{media\}"),
    ],
)
def test_a_prompt_that_cannot_ask_a_question_is_refused_by_the_plan(
    paper, tmp_path, text, complaint
):
    (tmp_path / "own.txt").write_text(text)
    with pytest.raises(ConfigError, match=rf"eval\.models\.base: prompt .*own\.txt: .*{complaint}"):
        plan(paper(f"eval.models.base.prompt={tmp_path / 'own.txt'}"), SOUNDS)


def test_a_word_that_is_no_prompt_is_refused_with_those_that_are(paper):
    message = r"(?s)eval\.models\.base: prompt 'offical'.*direct.*`official`"
    with pytest.raises(ConfigError, match=message):
        plan(paper("eval.models.base.prompt=offical"), SOUNDS)


def test_the_prompt_of_the_student_is_that_of_its_training(paper):
    words = load_prompt("world/student").digest
    config = paper("student.prompt=world/student", "eval.models.sft.prompt=student")
    run(config, SOUNDS)
    prompts = {r.model: r.settings.protocol["prompt"] for r in read_results(config)}
    assert prompts["sft"] == prompts["base_think"] == words != prompts["base"]


@pytest.mark.parametrize(
    ("name", "marks"),
    [
        ("echoink-7b", ("<think>", "</answer>", "A. Cello")),
        ("omni-r1-7b", ("<think>", "</answer>", "Options:\nA. Cello")),
        ("avatar-7b", ("<answer>A</answer>", "A. Cello")),
        ("humanomni-7b", ("A. Cello",)),
        ("ola-7b", ("A. Cello",)),
        ("av-reasoner-7b", ("<think>", "</answer>", "A. Cello")),
    ],
)
def test_baselines_are_asked_in_their_authors_form(tmp_path, name, marks):
    model = load_config(None, (f"eval.models.mine.preset={name}",)).eval.models["mine"]
    item, *_ = read_items(write_set(tmp_path, "mmar"))
    _, text = fill_question(item.sample, load_prompt(model.prompt))
    assert all(mark in text for mark in marks)
    assert ("<think>" in text) == ("<think>" in marks)
    assert ("<answer>" in text) == any("answer>" in mark for mark in marks)
    baseline = baselines()[name]
    assert baseline.prompt_source
    is_served = model.engine is not None and model.engine.kind == "openai"
    assert is_served == (baseline.model is None)
