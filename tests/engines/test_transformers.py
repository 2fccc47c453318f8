from __future__ import annotations

import numpy as np
import pytest
import torch

from avrt.config import EngineConfig, MediaConfig
from avrt.engines import engine_identity, make_engine, transformers
from avrt.engines.encode import collate, encode
from avrt.engines.transformers import TransformersEngine
from avrt.engines.weights import load
from avrt.errors import EngineError
from avrt.types import Frames, Prompt, Waveform


def ignore(_request, _completion) -> None:
    pass


@pytest.fixture(scope="module")
def engine(checkpoint):
    made = {}

    def get(name: str, batch_size: int = 4) -> TransformersEngine:
        if (name, batch_size) not in made:
            config = EngineConfig(kind="transformers", batch_size=batch_size, device="cpu")
            made[name, batch_size] = make_engine(config, str(checkpoint(name)), None, MediaConfig())
        return made[name, batch_size]

    return get


@pytest.fixture(scope="module")
def prompts(make_frames, make_sound):
    """Prompts of unequal length for each model; the student's mix all modalities."""
    videos = [make_frames(i, n_frames=2 + i) for i in range(4)]
    sounds = [make_sound(i, seconds=0.5 + 0.4 * i) for i in range(4)]
    still = make_frames(9, n_frames=1, still=True)
    texts = ["what is it?", "who sings here?", "why?", "where does it come from and when?"]
    return {
        "student": [
            Prompt(texts[0], frames=videos[0], audio=sounds[0]),
            Prompt(texts[1], audio=sounds[1]),
            Prompt(texts[2], frames=videos[2], system="look"),
            Prompt(texts[3], frames=still, audio=sounds[3]),
            Prompt(texts[0]),
        ],
        "vision_teacher": [
            *(Prompt(text, frames=video) for text, video in zip(texts, videos, strict=True)),
            Prompt("hello", frames=still),
            Prompt("no picture"),
        ],
        "audio_teacher": [
            Prompt(text, audio=sound) for text, sound in zip(texts, sounds, strict=True)
        ],
        "merger": [Prompt(text) for text in texts],
    }


MODELS = ["student", "vision_teacher", "audio_teacher", "merger"]


def test_a_long_video_fits_by_its_positions_which_are_fewer_than_its_tokens(
    checkpoint, make_request, collect
):
    settings = EngineConfig(kind="transformers", device="cpu")
    engine = TransformersEngine(settings, str(checkpoint("student")), None)
    config = engine._model.model.config.get_text_config()
    pixels = np.zeros((4, 224, 224, 3), np.uint8)  # 128 tokens, of one second
    prompt = Prompt("what is it?", frames=Frames(pixels, (0.0, 0.4, 0.8, 1.2), 2.5))
    n_tokens = len(encode(engine._model.processor, prompt).input_ids)
    config.max_position_embeddings = n_tokens
    done = collect(engine, [make_request("long", prompt, max_new_tokens=4)])
    assert done["long"].error is None
    assert done["long"].n_prompt_tokens == n_tokens
    config.max_position_embeddings = 20
    done = collect(engine, [make_request("long", prompt, max_new_tokens=4)])
    assert done["long"].error_class == "too_long"


def test_a_prompt_that_does_not_fit_is_a_named_failure_and_the_others_go_on(
    engine, make_request, collect
):
    requests = [
        make_request("long", "word " * 5000),
        make_request("wants_much", "hi", max_new_tokens=4096),
        make_request("fine", "hi"),
    ]
    done = collect(engine("merger"), requests)
    assert done["long"].error_class == done["wants_much"].error_class == "too_long"
    assert "4096" in (done["long"].error or "")
    assert done["fine"].finish_reason in ("stop", "length")


def test_a_modality_that_the_model_does_not_take_stops_the_run(engine, make_request, make_sound):
    request = make_request("k", Prompt("hi", audio=make_sound(0)))
    with pytest.raises(EngineError, match="takes no sound"):
        engine("vision_teacher").generate([request], ignore)


def test_a_closed_engine_says_so(checkpoint, make_request):
    closed = TransformersEngine(
        EngineConfig(kind="transformers", device="cpu"), str(checkpoint("merger")), None
    )
    closed.close()
    with pytest.raises(EngineError, match="closed"):
        closed.generate([make_request("k", "hi")], ignore)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_reply_does_not_depend_on_its_batch(
    engine, prompts, make_request, collect, name, temperature
):
    requests = [
        make_request(f"k{i}", prompt, temperature=temperature, top_p=0.9, seed=i, max_new_tokens=24)
        for i, prompt in enumerate(prompts[name])
    ]
    alone = collect(engine(name, batch_size=1), requests)
    together = collect(engine(name, batch_size=8), requests)
    reordered = collect(engine(name, batch_size=3), requests[::-1])
    texts = {key: done.text for key, done in alone.items()}
    assert {key: done.text for key, done in together.items()} == texts
    assert {key: done.text for key, done in reordered.items()} == texts


def test_seeds_decide_samples_and_greedy_ignores_them(engine, make_request, collect):
    hot = [make_request(f"k{seed}", "hi", temperature=1.0, seed=seed) for seed in (1, 2, 3)]
    first, again = collect(engine("merger"), hot), collect(engine("merger"), hot)
    assert [done.text for done in first.values()] == [done.text for done in again.values()]
    assert len({done.text for done in first.values()}) == 3
    cold = collect(
        engine("merger"), [make_request(f"k{seed}", "hi", seed=seed) for seed in (1, 2, 3)]
    )
    assert len({done.text for done in cold.values()}) == 1


def log_probs(model, processor, prompt: Prompt) -> torch.Tensor:
    inputs = collate([encode(processor, prompt)], 0, "left")
    with torch.inference_mode():
        return model(**inputs).logits[0, -1].log_softmax(-1)


def test_changing_only_the_sound_or_only_the_frames_changes_what_the_student_predicts(
    checkpoint, make_frames, make_sound
):
    loaded = load(str(checkpoint("student")))
    clip = Prompt("what?", frames=make_frames(0), audio=make_sound(0))
    other_sound = Prompt("what?", frames=make_frames(0), audio=make_sound(1))
    other_frames = Prompt("what?", frames=make_frames(1), audio=make_sound(0))
    base = log_probs(loaded.model, loaded.processor, clip)
    assert torch.equal(base, log_probs(loaded.model, loaded.processor, clip))
    for changed in (other_sound, other_frames):
        assert (base - log_probs(loaded.model, loaded.processor, changed)).abs().max() > 1e-3


@pytest.mark.parametrize("name", ["vision_teacher", "audio_teacher"])
def test_the_media_reach_the_teachers(checkpoint, make_frames, make_sound, name):
    loaded = load(str(checkpoint(name)))

    def predict(seed: int) -> torch.Tensor:
        media: Frames | Waveform = (
            make_frames(seed) if name == "vision_teacher" else make_sound(seed)
        )
        prompt = Prompt("what?", **{"frames" if isinstance(media, Frames) else "audio": media})
        return log_probs(loaded.model, loaded.processor, prompt)

    assert (predict(0) - predict(1)).abs().max() > 1e-3


def test_the_rate_of_the_frames_reaches_the_students_positions(checkpoint, make_frames):
    loaded = load(str(checkpoint("student")))
    frames = make_frames(0, n_frames=6)
    slow = Frames(frames.pixels, frames.times_s, frames.fps / 4)
    fast, slower = (
        log_probs(loaded.model, loaded.processor, Prompt("what?", frames=f)) for f in (frames, slow)
    )
    assert (fast - slower).abs().max() > 1e-4


def test_requests_are_pulled_a_window_at_a_time_and_answered_the_longest_first(
    engine, make_request, monkeypatch
):
    monkeypatch.setattr(transformers, "_WINDOW_BATCHES", 2)
    pulled: list[int] = []
    answered: list[str] = []
    seen_at_reply: list[int] = []

    def requests():
        for i in range(6):
            pulled.append(i)
            yield make_request(f"k{i}", "hi" * (i + 1), max_new_tokens=2)

    def store(request, _completion):
        answered.append(request.key)
        seen_at_reply.append(len(pulled))

    engine("merger", batch_size=2).generate(requests(), store)
    assert seen_at_reply == [4, 4, 4, 4, 6, 6]
    assert answered == ["k3", "k2", "k1", "k0", "k5", "k4"]


def test_counts_and_finish_reason_tell_cut_from_complete(engine, checkpoint, make_request, collect):
    done = collect(engine("merger"), [make_request("k", "hi", max_new_tokens=5)])["k"]
    n_prompt = len(encode(load(str(checkpoint("merger"))).processor, Prompt("hi")).input_ids)
    assert (done.finish_reason, done.n_prompt_tokens, done.n_completion_tokens) == (
        "length",
        n_prompt,
        5,
    )
    assert done.latency_s > 0


def test_the_identity_follows_the_weights_and_not_the_place(engine, checkpoint, tmp_path):
    identity = dict(engine("merger").identity)
    settings = EngineConfig(kind="transformers", batch_size=9)
    assert engine_identity(settings, str(checkpoint("merger")), None, MediaConfig()) == identity
    folder = checkpoint("merger")
    moved = tmp_path / "moved"
    moved.mkdir()
    for file in folder.iterdir():
        (moved / file.name).write_bytes(file.read_bytes())
    config = EngineConfig(kind="transformers", batch_size=1, device="cpu")
    assert TransformersEngine(config, str(moved), None).identity == identity
    assert str(folder) not in repr(identity)
    assert TransformersEngine(config, str(checkpoint("student")), None).identity != identity
