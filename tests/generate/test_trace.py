"""Facts about the stage `trace`: what each teacher gets, what is stored, and what a resume does."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from avrt.ask import calls
from avrt.config import Config
from avrt.datasets import prepare
from avrt.engines import LazyEngine
from avrt.errors import AvrtError, ConfigError, DataError
from avrt.generate import build, merge, trace
from avrt.generate.records import iter_teachers, teachers_path
from avrt.runs import read_parquet
from avrt.types import Completion, Prompt
from scripted_run import Answer, MakeConfig, replies, right, wrong


def answer_b(prompt: Prompt) -> str:
    return "Answer: (B) cat"


def remove_derived(config: Config) -> None:
    shutil.rmtree(config.run.path / "traces")
    (config.run.path / "manifests" / "trace.json").unlink()


def test_a_run_that_is_not_prepared_is_refused(make_config: MakeConfig) -> None:
    config = make_config(None, "run.name=other")
    with pytest.raises(DataError, match=r"samples\.parquet: not found"):
        trace.run(config)


def test_answers_strata_and_failures_are_counted(make_config: MakeConfig) -> None:
    script = replies(
        {
            ("VISION", 1): f"Answer: ({wrong(1)})",
            ("AUDIO", 2): f"Answer: ({wrong(2)})",
            ("VISION", 3): f"Answer: ({wrong(3)})",
            ("AUDIO", 3): "I cannot tell.",
            ("AUDIO", 4): None,
        }
    )
    result = trace.run(make_config(script))
    wanted = {
        "read": 7,
        "kept": 6,
        "failed/no_reply": 1,
        "stratum/both": 3,
        "stratum/vision_only": 1,
        "stratum/audio_only": 1,
        "stratum/none": 1,
        "vision/right": 5,
        "vision/wrong": 2,
        "audio/right": 4,
        "audio/wrong": 1,
        "audio/unparsable": 1,
        "audio/failed": 1,
    }
    assert dict(result.counts) == wanted
    assert "vision right             3           1" in result.summary


def test_rows_come_in_sample_order_with_the_raw_text(make_config: MakeConfig) -> None:
    config = make_config()
    trace.run(config)
    pairs = dict(iter_teachers(config.run.path))
    assert list(pairs) == [f"avqa-train-{number}" for number in range(1, 8)]
    (vision,), (audio,) = pairs["avqa-train-2"].values()
    assert (vision.role, audio.role) == ("vision", "audio")
    assert vision.text == f"Visual Description: v2\nAnswer: ({right(2)})"
    assert (vision.answer, vision.correct, vision.status) == (right(2), True, "ok")


def test_each_teacher_gets_its_modality_and_nothing_else(
    make_config: MakeConfig, use_answers: Callable[[Answer], list[Prompt]]
) -> None:
    prompts = use_answers(answer_b)
    trace.run(make_config())
    assert len(prompts) == 14
    for prompt in prompts:
        if prompt.text.startswith("VISION"):
            assert prompt.frames is not None
            assert len(prompt.frames.pixels) == 4
            assert prompt.audio is None
        else:
            assert prompt.audio is not None
            assert prompt.frames is None


def test_rebuilding_from_the_ledger_opens_no_media_and_makes_no_engine(
    make_config: MakeConfig, no_engine: Callable[[], None]
) -> None:
    config = make_config()
    trace.run(config)
    before = teachers_path(config.run.path).read_bytes()
    remove_derived(config)
    shutil.rmtree(config.data.root)
    no_engine()
    trace.run(config)
    assert teachers_path(config.run.path).read_bytes() == before


def test_a_finished_stage_has_nothing_to_do(
    make_config: MakeConfig, use_answers: Callable[[Answer], list[Prompt]]
) -> None:
    prompts = use_answers(answer_b)
    config = make_config()
    first = trace.run(config)
    second = trace.run(config)
    assert len(prompts) == 14
    assert "nothing to do" in second.summary
    assert second.counts == first.counts


def test_other_settings_are_refused_with_a_remedy(make_config: MakeConfig) -> None:
    trace.run(make_config())
    with pytest.raises(ConfigError, match=r"other settings \(audio\); choose another run\.name"):
        trace.run(make_config(None, "teachers.audio.temperature=0.5"))


def test_failed_calls_and_only_those_are_tried_again(
    make_config: MakeConfig, use_answers: Callable[[Answer], list[Prompt]]
) -> None:
    config = make_config()
    use_answers(lambda prompt: None if "question 3?" in prompt.text else "Answer: (B)")
    assert trace.run(config).counts["failed/no_reply"] == 1
    prompts = use_answers(answer_b)
    assert trace.run(config).counts["kept"] == 7
    assert sorted(prompt.text.split("?")[0] for prompt in prompts) == [
        "AUDIO question 3",
        "VISION question 3",
    ]


def test_too_many_failures_stop_the_run_after_everything_is_stored(
    make_config: MakeConfig, use_answers: Callable[[Answer], list[Prompt]]
) -> None:
    config = make_config()
    use_answers(lambda prompt: "Answer: (B)" if "question 3?" in prompt.text else None)
    with pytest.raises(
        AvrtError, match=r"6 of 7 calls failed \(6 no_reply; .*max_failure_rate"
    ) as info:
        trace.run(config)
    assert info.value.exit_code == 1
    assert dict(iter_teachers(config.run.path))["avqa-train-3"]["vision"][0].answer == "B"
    prompts = use_answers(answer_b)
    trace.run(config)
    assert len(prompts) == 12


def test_an_engine_that_breaks_keeps_what_was_finished(
    make_config: MakeConfig, use_answers: Callable[[Answer], list[Prompt]]
) -> None:
    config = make_config()

    def answers() -> Iterator[str]:
        yield from ["Answer: (B)"] * 3
        raise RuntimeError("out of memory")

    replies_left = answers()
    use_answers(lambda _: next(replies_left))
    with pytest.raises(RuntimeError, match="out of memory"):
        trace.run(config)
    prompts = use_answers(answer_b)
    trace.run(config)
    assert len(prompts) == 11


def test_a_clip_that_vanished_fails_its_samples_only(make_config: MakeConfig) -> None:
    config = make_config()
    clip: Path = config.data.root / "videos" / "clip1_000001.mp4"
    clip.unlink()
    result = trace.run(config)
    assert result.counts["failed/missing"] == 3
    assert result.counts["kept"] == 4
    (vision,) = dict(iter_teachers(config.run.path))["avqa-train-1"]["vision"]
    assert (vision.status, vision.key, vision.correct) == ("missing", None, False)


@pytest.fixture
def one_sided(make_config: MakeConfig) -> Callable[..., Config]:
    """A configuration whose eighth question, about a clip without sound, is for vision alone."""

    def make(script: dict[tuple[str, int], str] | None = None) -> Config:
        changes = ("run.name=one_sided", "prepare.no_audio=vision_only", "media.workers=1")
        config = make_config(script, *changes)
        prepare.run(config)
        return config

    return make


def test_a_teacher_is_not_asked_about_a_half_that_cannot_be_used(
    one_sided: Callable[..., Config], use_answers: Callable[[Answer], list[Prompt]]
) -> None:
    config = one_sided()
    assert "8 samples, 15 calls of 2 teachers" in trace.plan(config)
    prompts = use_answers(answer_b)
    counts = trace.run(config).counts
    asked = [prompt.text.split()[0] for prompt in prompts if "question 8?" in prompt.text]
    assert asked == ["VISION"]
    assert len(prompts) == 15
    assert (counts["read"], counts["kept"], counts["dropped/one_sided"]) == (8, 7, 1)
    assert (counts["audio/absent"], counts["audio/failed"], counts["vision/absent"]) == (1, 0, 0)
    (vision,), (audio,) = dict(iter_teachers(config.run.path))["avqa-train-8"].values()
    assert (vision.status, vision.answer) == ("ok", "B")
    assert (audio.status, audio.key, audio.text, audio.correct) == ("absent", None, "", False)
    assert "nothing to do" in trace.run(config).summary, "an absent half is no failed call"


def test_a_failed_call_about_the_only_half_is_a_failure(one_sided: Callable[..., Config]) -> None:
    counts = trace.run(one_sided(replies({("VISION", 8): None}))).counts
    assert (counts["failed/no_reply"], counts["dropped/one_sided"], counts["kept"]) == (1, 0, 7)


@pytest.mark.parametrize("view", ["paper", "either", "unfiltered"])
def test_later_stages_leave_one_sided_samples_out_by_name(
    one_sided: Callable[..., Config], view: str
) -> None:
    config = one_sided()
    config = config.model_copy(update={"build": config.build.model_copy(update={"view": view})})
    for stage in (trace, merge, build):
        counts = stage.run(config).counts
    assert (counts["read"], counts["kept"], counts["dropped/one_sided"]) == (8, 7, 1)
    (row,) = read_parquet(config.run.path / "dataset" / "rejected.parquet")
    assert (row["stage"], row["reason"]) == ("trace", "dropped/one_sided")
    assert row["vision_text"].startswith("Visual Description: v8")
    assert row["stratum"] is None


def test_other_questions_under_the_same_ids_are_noticed(make_config: MakeConfig) -> None:
    config = make_config()
    trace.run(config)
    annotations = config.data.root / "train_qa.json"
    annotations.write_text(annotations.read_text().replace("question 3?", "another question?"))
    with pytest.raises(ConfigError, match="other inputs"):
        prepare.run(config)
    (config.run.path / "manifests" / "prepare.json").unlink()
    prepare.run(config)
    with pytest.raises(ConfigError, match="other inputs"):
        trace.run(config)
    with pytest.raises(ConfigError, match="not the questions that were traced"):
        merge.run(config)


def test_a_file_that_was_exchanged_is_noticed_after_it_was_prepared(
    make_config: MakeConfig,
) -> None:
    config = make_config()
    trace.run(config)
    videos = config.data.root / "videos"
    shutil.copy(videos / "clip0_000001.mp4", videos / "clip1_000001.mp4")
    prepare.run(config)
    with pytest.raises(ConfigError, match="other inputs"):
        trace.run(config)


def test_a_cut_completion_has_no_answer(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config()

    def cut(_: LazyEngine, requests: Any, on_completion: Any) -> None:
        for request in requests:
            on_completion(request, Completion("Answer: (B) cat. Furthermore", "length"))

    monkeypatch.setattr(LazyEngine, "generate", cut)
    counts = trace.run(config).counts
    assert counts["vision/truncated"] == 7
    assert counts["stratum/none"] == 7


def test_text_that_no_file_can_hold_is_mended_and_kept(
    make_config: MakeConfig, use_answers: Callable[[Answer], list[Prompt]]
) -> None:
    config = make_config()
    use_answers(lambda _: "a broken \ud83d sign\nAnswer: (B)")
    trace.run(config)
    (vision,) = dict(iter_teachers(config.run.path))["avqa-train-1"]["vision"]
    assert vision.text == "a broken \ufffd sign\nAnswer: (B)"
    assert vision.correct


def test_the_seed_is_the_samples_own() -> None:
    greedy = Config().teachers["vision"]
    assert calls.sampling_of(greedy, 0, "a") == calls.sampling_of(greedy, 1, "b", 2)
    role = greedy.model_copy(update={"temperature": 0.7})
    assert calls.sampling_of(role, 0, "a") == calls.sampling_of(role, 0, "a")
    seeds = {calls.sampling_of(role, run, sample).seed for run in (0, 1) for sample in ("a", "b")}
    assert len(seeds) == 4
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert len({calls.sampling_of(role, 0, "a", k).seed for k in range(8)}) == 8


def test_the_plan_counts_without_calling(
    make_config: MakeConfig, no_engine: Callable[[], None]
) -> None:
    config = make_config()
    assert "7 samples, 14 calls of 2 teachers; 0 finished" in trace.plan(config)
    trace.run(config)
    no_engine()
    assert "14 finished calls" in trace.plan(config)
    assert "every sample that prepare finds" in trace.plan(make_config(None, "run.name=other"))


def test_an_absent_prompt_is_refused_before_any_call(make_config: MakeConfig) -> None:
    with pytest.raises(ConfigError, match="absent"):
        trace.run(make_config(None, "teachers.vision.prompt=absent.txt"))


def test_a_prompt_that_counts_frames_is_refused_with_a_rate(
    make_config: MakeConfig,
) -> None:
    config = make_config(None, "teachers.vision.prompt=vision", "media.fps=2")
    for stage in (trace.run, trace.plan):
        with pytest.raises(ConfigError, match=r"teachers\.vision\.prompt: .*media\.fps=null"):
            stage(config)
