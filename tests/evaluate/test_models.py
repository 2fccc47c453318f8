from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from avrt.config import EvalModel, load_config
from avrt.engines.base import failure
from avrt.errors import ConfigError, EngineError
from avrt.evaluate import Choice, compare, plan, run
from avrt.evaluate.logs import log_path, read_log
from avrt.evaluate.results import read_results
from avrt.types import Completion, Request
from chat_server import Server, chat
from script_engine import scripted

N_ITEMS = 6
V = Choice(modalities=["v"])


def with_models(config, models, **fields):
    parsed = {
        name: EvalModel.model_validate(value) if isinstance(value, dict) else value
        for name, value in models.items()
    }
    return config.model_copy(
        update={"eval": config.eval.model_copy(update={"models": parsed, **fields})}
    )


def lines_of(config, modality, model, bench="clips"):
    return read_log(log_path(config.run.path, bench, model, modality))


def test_a_model_behind_a_server_gets_each_modality_as_parts(config):
    with Server() as server:
        server.answer = lambda _body, _n: chat("<answer>A</answer>", n_prompt_tokens=900)
        engine = {"kind": "openai", "base_url": server.url, "concurrency": 4}
        config = with_models(config, {"served": {"model": "some-vlm", "engine": engine}})
        # What the engine asks to be sure that media arrive has fewer tokens.
        server.answer = lambda body, _n: chat(
            "<answer>A</answer>", n_prompt_tokens=900 if body["max_tokens"] > 1 else 5
        )
        run(config, Choice(modalities=("none", "a", "v", "av")))
        asked = [body for body in server.bodies if body["max_tokens"] > 1]
    kinds: Counter[tuple[str, ...]] = Counter()
    for body in asked:
        content = body["messages"][-1]["content"]
        parts = [] if isinstance(content, str) else [part["type"] for part in content]
        kinds[tuple(sorted({*parts}))] += 1
    assert kinds == {
        (): N_ITEMS,
        ("input_audio", "text"): N_ITEMS - 1,
        ("image_url", "text"): N_ITEMS,
        ("image_url", "input_audio", "text"): N_ITEMS - 1,
    }
    line = lines_of(config, "av", "served")[0]
    assert (line.n_frames, line.n_prompt_tokens) == (4, 900)
    assert line.audio_s == pytest.approx(1.0, abs=0.1)


def test_a_teacher_is_asked_its_own_modality_with_its_own_prompt(config, tmp_path):
    engine = scripted(tmp_path, {"vision agent": "x", "4 frames": "Answer: (A)"})
    teacher = {"model": "t", "prompt": "vision", "modality": "v", "engine": engine}
    config = with_models(config, {"teacher": teacher})
    result = run(config)
    assert [r.modality for r in read_results(config)] == ["v"]
    assert result.counts == {"scored": N_ITEMS}


def test_a_preset_names_the_model(config):
    models = "{echoink: {preset: echoink-7b}, kimi: {preset: kimi-vl-a3b-thinking}}"
    given = load_config(None, (f"eval.models={models}",)).eval.models
    text = plan(with_models(config, given))
    assert "clips, 6 items by A, V, AV, model echoink: harryhsing/EchoInk-R1-7B" in text
    assert "clips, 6 items by V, model kimi: moonshotai/Kimi-VL-A3B-Thinking (openai" in text


@pytest.mark.parametrize(
    ("preset", "message"),
    [
        ("avatar-3b", "no checkpoint that AVRT can run.*--predictions FILE --model avatar-3b"),
        ("qwen2.5-14b-instruct", "is for the merger"),
        ("echoink", r"no preset 'echoink'; did you mean echoink-7b\?.*`avrt list baselines`"),
    ],
)
def test_a_preset_that_is_no_model_is_refused(preset, message):
    with pytest.raises(ConfigError, match=message):
        load_config(None, (f"eval.models.x={{preset: {preset}}}",))


def test_the_saved_configuration_evaluates_alike(config, tmp_path):
    engine = scripted(tmp_path, {"": "<answer>A</answer>"})
    config = with_models(config, {"base": {"model": "base", "engine": engine}})
    run(config)
    saved = load_config(config.run.path / "config.yaml")
    assert plan(saved) == plan(config)


def test_several_answers_have_seeds_of_their_own_and_are_pooled_by_item(config, use_completions):
    def complete(request: Request) -> Completion:
        return Completion(f"<answer>{'ABCD'[request.sampling.seed % 4]}</answer>", "stop")

    asked = use_completions(complete)
    config = with_models(config, {"many": {"model": "m", "temperature": 1.0, "k": 3}})
    run(config, V)
    assert len({request.sampling.seed for request in asked}) == len(asked) == 3 * N_ITEMS
    assert Counter(line.sample_id for line in lines_of(config, "v", "many")) == {
        f"q{n}": 3 for n in range(N_ITEMS)
    }
    (result,) = read_results(config)
    assert (result.accuracy.n, result.accuracy.n_runs) == (N_ITEMS, 3)
    assert "3 runs" in result.notes
    more = {"many": {"model": "m", "temperature": 1.0, "k": 4}}
    run(with_models(config, more), V)
    assert len(asked) == len(lines_of(config, "v", "many")) == 4 * N_ITEMS


def test_seeds_of_one_model_are_reported_together(config, tmp_path):
    models = {
        f"seed{n}": {
            "model": "m", "engine": scripted(tmp_path, {"": f"<answer>{letter}</answer>"}, letter)
        }
        for n, letter in enumerate("AB")
    }  # fmt: skip
    config = with_models(config, models, pools={"both": ("seed0", "seed1")})
    text = run(config, V).summary
    pool = {r.model: r for r in read_results(config)}["both"]
    assert (pool.accuracy.value, pool.accuracy.n_runs) == (pytest.approx(2 / 6), 2)
    assert "both V: " in text
    assert "2 runs, 0.0 points between them (sd)" in text


def test_a_pool_of_unlike_runs_is_refused(config, tmp_path):
    engine = scripted(tmp_path, {"": "<answer>A</answer>"})
    models = {
        "one": {"model": "m", "engine": engine},
        "two": {"model": "m", "engine": engine, "max_new_tokens": 9},
    }
    config = with_models(config, models, pools={"both": ("one", "two")})
    with pytest.raises(ConfigError, match=r"eval.pools.both: one, two were not evaluated alike"):
        run(config, V)


@pytest.mark.parametrize(
    ("pools", "message"),
    [
        ({"base": ("base",)}, "eval.models has this name too"),
        ({"all": ("base", "nope")}, "nope is not in eval.models"),
        ({"all": ()}, "names no model"),
    ],
)
def test_a_pool_of_nothing_known_is_refused(config, pools, message):
    with pytest.raises(ConfigError, match=message):
        run(with_models(config, {"base": "base"}, pools=pools))


@pytest.mark.parametrize(
    ("modality", "n_frame_tokens", "n_audio_tokens", "message"),
    [
        ("av", 4, 0, "got 0 tokens of sound where some"),
        ("v", 4, 7, "got 7 tokens of sound where none"),
        ("a", 4, 7, "got 4 tokens of pictures where none"),
        ("none", 4, 0, "got 4 tokens of pictures where none"),
    ],
)
def test_media_that_do_not_arrive_stop_the_evaluation(
    config, use_completions, modality, n_frame_tokens, n_audio_tokens, message
):
    counts = {"n_frame_tokens": n_frame_tokens, "n_audio_tokens": n_audio_tokens}
    use_completions(lambda _: Completion("<answer>A</answer>", "stop", **counts))
    with pytest.raises(EngineError, match=message):
        run(config, Choice(models=["base"], modalities=[modality]))
    assert all(result.counts.keys() <= {"missing_media"} for result in read_results(config))


def test_a_failed_call_says_nothing_about_media(config, use_completions):
    lost = replace(failure("timeout", "no reply"), n_frame_tokens=0, n_audio_tokens=0)
    use_completions(lambda _: lost)
    may_fail = config.generate.model_copy(update={"max_failure_rate": 1})
    config = config.model_copy(update={"generate": may_fail})
    result = run(config, Choice(models=["base"], modalities=["v"]))
    assert result.counts == {"failed": N_ITEMS}


def answering(config, tmp_path):
    engine = scripted(tmp_path, {"": "<answer>A</answer>"})
    return with_models(config, {"base": {"model": "base", "engine": engine}})


def test_runs_under_other_protocols_are_not_compared(config, tmp_path):
    engine = scripted(tmp_path, {"": "<answer>A</answer>"})
    models = {
        "short": {"model": "m", "engine": engine, "max_new_tokens": 16},
        "long": {"model": "m", "engine": engine, "prompt": "blind"},
        "like_short": {"model": "n", "engine": engine, "max_new_tokens": 16},
    }
    config = with_models(config, models)
    text = run(config, V).summary
    assert "protocols differ, so do not compare across them" in text
    ids = {r.model: r.protocol_id for r in read_results(config)}
    assert ids["short"] == ids["like_short"] != ids["long"]
    with pytest.raises(ConfigError, match=r"(?s)max_new_tokens: 16 / 1024; prompt: .*--force"):
        compare(config, "short", "long")
    forced = compare(config, "short", "long", force=True)
    assert "max_new_tokens: 16 / 1024" in forced
    assert "+0.0 points" in forced
    alike = compare(config, "short", "like_short")
    assert "within noise: no difference is shown" in alike
    assert f"protocol {ids['short']}" in alike


def test_the_words_of_the_authors_are_another_protocol(config, tmp_path):
    config = answering(config, tmp_path)
    official = config.model_copy(
        update={"eval": config.eval.model_copy(update={"prompt": "official"})}
    )
    run(config, V)
    with pytest.raises(ConfigError, match=r"other settings \(prompt\)"):
        run(official, V)


def test_a_prompt_with_one_word_changed_is_seen(config, tmp_path):
    config = answering(config, tmp_path)
    run(config, Choice(modalities=["none"]))
    prompt = tmp_path / "prompt.txt"
    prompt.write_text("{question}\n{options}\nLetter only.")
    other = config.model_copy(
        update={"student": config.student.model_copy(update={"prompt": str(prompt)})}
    )
    with pytest.raises(ConfigError, match=r"other settings \(prompt\)"):
        run(other, Choice(modalities=["none"]))
