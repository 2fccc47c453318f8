"""Which samples GRPO trains on: views, and clips that are held out."""

from __future__ import annotations

import pytest

from avrt.datasets import dataset_row_to_sample, prepare, write_samples
from avrt.errors import ConfigError
from avrt.generate.build import validation_clips
from avrt.generate.records import TeacherTrace, write_teachers
from avrt.train import grpo
from avrt.train.grpo_prompts import choice_of_prompts, read_grpo_prompts
from avrt.train.judge_reward import read_analyses

CLIPS = ("red-high", "blue-high", "red-low", "short")


def answered(sample_id, role, correct):
    return TeacherTrace(
        sample_id=sample_id,
        role=role,
        modality=role[0],
        k=0,
        key=None,
        status="ok",
        text=f"{role} of {sample_id}",
        order=range(4),
        answer="B" if correct else "A",
        correct=correct,
        finish_reason="stop",
        n_prompt_tokens=1,
        n_completion_tokens=1,
    )


def read(config):
    return read_grpo_prompts(config.run.path, config.grpo, config.build, config.run.seed)


def ids(examples):
    return [example.sample.id for example in examples]


@pytest.fixture
def make_samples(make_config, make_row, clips, tmp_path):
    """A run with eight questions about four clips; the teachers' answers follow from the number."""
    (tmp_path / "data").mkdir()
    for name in CLIPS:
        (tmp_path / "data" / f"{name}.mp4").symlink_to(clips / f"{name}.mp4")
    rows = [make_row(f"q{i}", CLIPS[i % 4], question=f"Question {i}?") for i in range(8)]
    samples = [dataset_row_to_sample(row, "test") for row in rows]
    write_samples(tmp_path / "data" / "train.parquet", samples)

    def make(traced=True, **sections):
        data = {"root": tmp_path / "data", "format": "parquet"}
        config = make_config(data=data, **sections)
        (config.run.path / "dataset" / "train.parquet").unlink()
        prepare.run(config)
        if traced:
            traces = [
                answered(f"q{i}", role, right)
                for i in range(8)
                for role, right in (("vision", i % 2 == 0), ("audio", i < 4))
            ]
            write_teachers(config.run.path, traces)
        return config

    return make


def test_clips_of_all_samples_are_held_out_as_build_does(make_config, make_samples, make_row):
    config = make_samples(grpo={"data": "samples"}, build={"validation_fraction": 0.5})
    prompts = read(config)
    clips = validation_clips(CLIPS, 0.5, config.run.seed)
    assert len(clips) == 2
    assert {example.sample.video_id for example in prompts.held_out} == clips
    trained = {example.sample.video_id for example in prompts.trained}
    assert trained == {*CLIPS} - clips
    assert sorted(ids(prompts.trained + prompts.held_out)) == [f"q{i}" for i in range(8)]
    assert "4 samples" in grpo.plan(config)

    clip = sorted(clips)[0]
    make_config([make_row("t0", clip)])  # a dataset that SFT trains on
    unseen = read(config).held_out
    assert {example.sample.video_id for example in unseen} == clips - {clip}, "SFT has seen it"
    assert ids(read(config).trained) == ids(prompts.trained)


def test_a_view_chooses_prompts_by_the_teachers_answers(make_samples):
    whole = {"data": "samples"}
    build = {"validation_fraction": 0, "views": {"hard": "audio_right = 0"}}
    config = make_samples(grpo={**whole, "view": "vision_first != audio_first"}, build=build)
    assert ids(read(config).trained) == ["q1", "q3", "q4", "q6"]
    for view, expected in {"paper": ["q0", "q2"], "hard": ["q4", "q5", "q6", "q7"]}.items():
        config = make_samples(grpo={**whole, "view": view}, build=build)
        assert ids(read(config).trained) == expected
    settings, files = choice_of_prompts(config.run.path, config.grpo, config.build)
    assert settings == {"held_out": 0, "condition": "audio_right = 0"}
    assert [path.name for path in files] == ["samples.parquet", "teachers.parquet"]

    config = make_samples(grpo={**whole, "view": "vison_first"}, build=build)
    with pytest.raises(ConfigError, match=r"view 'vison_first'.*columns of this run are id,"):
        read(config)
    config = make_samples(grpo={**whole, "view": "n_options = 9"}, build=build)
    with pytest.raises(ConfigError, match=r"grpo\.view = 'n_options = 9': none of the 8 prompts"):
        read(config)


def test_a_judge_gets_what_the_teachers_wrote(make_samples):
    config = make_samples()
    assert read_analyses(config.run.path, ["q1"]) == {
        "q1": {"v": "vision of q1", "a": "audio of q1"}
    }
    untraced = make_samples(traced=False, run={"name": "untraced"})
    assert read_analyses(untraced.run.path, ["q1"]) == {}


def test_a_view_of_an_untraced_run_knows_the_questions_alone(make_samples):
    settings = {"data": "samples", "view": "video_id = 'short'"}
    build = {"validation_fraction": 0}
    config = make_samples(traced=False, grpo=settings, build=build)
    assert ids(read(config).trained) == ["q3", "q7"]
    config = make_samples(traced=False, grpo={**settings, "view": "stratum = 'none'"}, build=build)
    with pytest.raises(ConfigError, match="no such column: stratum"):
        read(config)


def test_a_view_of_the_dataset_leaves_its_validation_alone(make_config, make_row):
    rows = [
        make_row(f"s{i}", CLIPS[i % 3], question_type=("Why", "Where")[i % 2]) for i in range(6)
    ]
    config = make_config(rows, grpo={"view": "question_type = 'Why'", "eval_samples": 1})
    prompts = read(config)
    assert ids(prompts.trained) == ["s0", "s2", "s4"]
    assert ids(prompts.held_out) == ["v0"]
