"""Rollouts by a server, against one on loopback that speaks vLLM's protocol."""

from __future__ import annotations

import math
import shutil
import signal

import numpy as np
import pytest
import torch

from avrt.engines.encode import as_floats, suppress_token_ids
from avrt.engines.vllm_inputs import same_times
from avrt.errors import ConfigError, EngineError
from avrt.train import grpo, server_rollouts
from avrt.train.checkpoint import load_student
from avrt.train.reward_check import check_rewards
from avrt.world.networks import new_student
from rollout_server import RolloutServer, items_of
from rollouts import generate, prepared, trainer_logprobs

NEAR = 0.2
"""Random weights give media tokens some percent, which are not among those that may be written."""


@pytest.fixture(scope="session")
def untied_folder(tmp_path_factory):
    """A saved student whose head is a tensor of its own, as the published ones are."""
    folder = tmp_path_factory.mktemp("untied")
    model, processor = new_student()
    for config in (model.config, model.config.text_config):
        config.tie_word_embeddings = False
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture
def server(untied_folder):
    with RolloutServer(untied_folder) as server:
        yield server


@pytest.fixture
def serving(make_config, server, untied_folder, tmp_path, monkeypatch):
    """A configuration whose rollouts come from the server."""
    monkeypatch.setattr(server_rollouts, "PAUSE_S", 0.0)
    (tmp_path / "weights").mkdir()

    def make(rows=None, **grpo):
        rollouts = {"base_url": server.url, "weights": tmp_path / "weights"}
        rollouts |= grpo.pop("rollouts", {})
        student = {"model": str(untied_folder), **grpo.pop("student", {})}
        return make_config(rows, student=student, grpo={"rollouts": rollouts, **grpo})

    return make


def allowed_logprobs(trainer, encoded, completion, temperature):
    """Log-probabilities (T,) among the tokens that may be written, by one plain forward pass."""
    ids = torch.cat([encoded.input_ids, completion])[None]
    with torch.no_grad():
        logits = trainer.model(
            input_ids=ids, attention_mask=torch.ones_like(ids), **as_floats(encoded.media)
        ).logits
    logits = logits[0, -len(completion) - 1 : -1] / temperature
    logits[:, suppress_token_ids(trainer.processing_class)] = -torch.inf
    return logits.log_softmax(-1).gather(-1, completion[:, None])[:, 0]


@pytest.mark.parametrize("temperature", [1.0, 1.7])
@pytest.mark.parametrize("share_prompts", [True, False])
def test_the_server_gets_the_trainers_inputs_and_its_probabilities_are_the_trainers(
    serving, server, untied_folder, share_prompts, temperature
):
    config = serving(share_prompts=share_prompts, temperature=temperature)
    encoded, trainer = prepared(config, load_student(str(untied_folder)))
    names = ["s0", "s1", "s2", "s3"]
    batch = generate(trainer, names)

    sent = {tuple(body["token_ids"]): body for body in server.requests}
    assert len(server.requests) == len(sent) == 4, "a request for each group"
    for name in names:
        body = sent[tuple(encoded[name].input_ids.tolist())]
        assert body["sampling_params"]["n"] == 2
        forbidden = {int(token) for token in body["sampling_params"]["logit_bias"]}
        assert forbidden == set(suppress_token_ids(trainer.processing_class))
        media, ((video,), (sound,)) = as_floats(encoded[name].media), items_of(body).values()
        assert video["pixel_values_videos"].equal(media["pixel_values_videos"])
        assert video["video_grid_thw"].equal(media["video_grid_thw"][0])
        valid = media["feature_attention_mask"][0].bool()
        assert sound["input_audio_features"].equal(media["input_features"][0][:, valid])

    mask = batch["completion_mask"].bool()
    drawn = batch["sampling_per_token_logps"]
    for index, row in enumerate(drawn):
        completion = batch["completion_ids"][index][mask[index]]
        expected = allowed_logprobs(trainer, encoded[names[index // 2]], completion, temperature)
        torch.testing.assert_close(row[: len(completion)], expected, atol=1e-4, rtol=0)
    own = trainer_logprobs(trainer, batch)
    ratio = batch["importance_sampling_ratio"]
    totals = ((own - drawn) * mask).sum(1, keepdim=True)
    torch.testing.assert_close(ratio, totals.exp())


def test_weights_go_to_the_server_after_every_update(serving, server, tmp_path, read_jsonl):
    config = serving(max_steps=3, learning_rate=0.03)
    grpo.run(config)
    log = [row for row in read_jsonl(config.run.path / "grpo" / "log.jsonl") if "reward" in row]
    assert len(log) == len(server.reloads) == 3
    (names,) = {frozenset(names) for names in server.reloads}
    assert "thinker.lm_head.weight" in names
    assert "thinker.model.layers.0.self_attn.q_proj.weight" in names
    assert not any(name.startswith(("thinker.visual", "thinker.audio_tower")) for name in names)
    assert all(row["server_difference_max"] < NEAR for row in log)
    assert all(0.8 < row["importance_ratio"] < 1.2 for row in log)
    assert not list((tmp_path / "weights").iterdir()), "the server has read them"
    salts = {request["cache_salt"] for request in server.requests}
    items = [
        name for request in server.requests for name in request["features"]["mm_hashes"]["video"]
    ]
    assert len(salts) == 3
    assert len(set(items)) == len(items), "no cache outlives an update"
    trained = load_student(str(config.run.path / "grpo" / "model"))[0]
    assert trained.lm_head.weight is not trained.get_input_embeddings().weight


def test_a_server_with_other_weights_stops_the_training(serving, server):
    server.takes_weights = False
    with pytest.raises(
        EngineError, match=r"differ from the trainer's by .* other weights"
    ) as caught:
        grpo.run(serving(max_steps=8, learning_rate=0.03))
    assert "--logprobs-mode processed_logprobs" in str(caught.value)
    assert len(server.reloads) > 1, "with the weights it began with all was well"


def test_groups_without_spread_are_replaced_by_the_servers(serving, untied_folder):
    config = serving(drop_zero_spread=True, beta=0.0)
    _, trainer = prepared(config, load_student(str(untied_folder)))
    differing = {"s1", "s3", "s6", "s7"}
    trainer.reward_funcs = [
        lambda prompts, **_: [
            float(place % 2 and name in differing) for place, name in enumerate(prompts)
        ],
        lambda prompts, **_: [0.0] * len(prompts),
    ]
    batch = generate(trainer, ["s0", "s1", "s2", "s3"])
    assert set(trainer._logs["prompt"]) == differing
    mask = batch["completion_mask"].bool()
    shift = (batch["sampling_per_token_logps"] - trainer_logprobs(trainer, batch))[mask]
    assert shift.abs().max() < NEAR


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rollouts": {"base_url": "http://127.0.0.1:1/v1"}}, "no server answers.*start it with"),
        ({"rollouts": {"model": "other"}}, "serves policy, not grpo.rollouts.model = 'other'"),
        ({"rollouts": {"weights": "/proc"}}, "weights = /proc: cannot write here.*both see"),
        (
            {"rollouts": {"weights": "/nowhere"}},
            "weights = /nowhere: cannot write here: No such file",
        ),
        ({"student": {"lora": {"rank": 2}}}, "does not work with student.lora"),
        ({"student": {"use_audio_in_video": True}}, "does not work with student.use_audio_in_"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_read(
    serving, monkeypatch, changes, message
):
    monkeypatch.setattr(grpo, "require_student", None)
    with pytest.raises((EngineError, ConfigError), match=message):
        grpo.run(serving(**changes))


@pytest.mark.parametrize(
    ("path", "flag"),
    [
        ("/inference/v1/generate", "--enable-scale-out"),
        ("/collective_rpc", "VLLM_SERVER_DEV_MODE=1"),
    ],
)
def test_a_server_without_what_rollouts_need_is_refused(serving, server, path, flag):
    server.missing.add(path)
    with pytest.raises(EngineError, match=f"started without {flag}"):
        grpo.run(serving())
    assert not server.requests


@pytest.mark.parametrize(
    ("models", "message"),
    [
        ((200, {"data": None}), "no list of models, but HTTP 200"),
        ((200, {"data": ["policy"]}), "no list of models, but HTTP 200"),
        ((200, b"<html>\xff</html>"), "no list of models, but HTTP 200: .*html"),
        ((401, {"error": "Unauthorized"}), "HTTP 401: .*Unauthorized.*start it with"),
    ],
)
def test_what_is_no_list_of_models_is_shown(serving, server, models, message):
    server.models = models
    with pytest.raises(EngineError, match=f"v1/models: .*{message}"):
        grpo.run(serving())


def test_a_folder_without_room_for_the_weights_is_refused_before_the_first_step(
    serving, server, monkeypatch
):
    usage = shutil.disk_usage("/")._replace(free=1 << 20)
    monkeypatch.setattr(server_rollouts.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(ConfigError, match=r"take 0\.01 GiB, but 0\.00 GiB are free here"):
        grpo.run(serving())
    assert not server.reloads


def test_a_server_that_is_too_slow_is_told_from_one_that_is_away(serving, server, untied_folder):
    config = serving(rollouts={"timeout_s": 0.2})
    _, trainer = prepared(config, load_student(str(untied_folder)))
    trainer._server._version = 0  # it has the weights
    server.delay_s = 0.5
    with pytest.raises(EngineError, match=r"no answer within 0\.2 s; .*raise grpo.rollouts.timeo"):
        generate(trainer, ["s0"])


def test_ctrl_c_while_the_server_reads_leaves_no_weights(serving, server, tmp_path, monkeypatch):
    found = []

    def reload(folder):
        found.extend(folder.iterdir())
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(server, "reload", reload)
    with pytest.raises(KeyboardInterrupt):
        grpo.run(serving())
    assert found
    assert not list((tmp_path / "weights").iterdir())


def test_a_plan_refuses_a_student_that_no_server_samples(serving):
    with pytest.raises(ConfigError, match=r"does not work with student\.lora"):
        grpo.plan(serving(student={"lora": {"rank": 2}}))


def test_a_tied_head_is_refused(serving, student_folder):
    with pytest.raises(ConfigError, match="a student whose head is a tensor of its own"):
        grpo.run(serving(student={"model": str(student_folder)}))


def test_a_server_in_trouble_is_asked_again_and_a_refusal_ends_the_training(
    serving, server, untied_folder
):
    _, trainer = prepared(serving(), load_student(str(untied_folder)))
    server.statuses = [500, 503]
    generate(trainer, ["s0", "s1"])
    assert len(server.requests) == 4
    server.statuses = [400]
    with pytest.raises(EngineError, match=r"generate: HTTP 400: .*the engine is in trouble"):
        generate(trainer, ["s0"])
    server.statuses = [500] * 3
    with pytest.raises(EngineError, match="HTTP 500"):
        generate(trainer, ["s0"])


def changed(content=None, token=None, n=None, index=None):
    """A reply whose completions all have another first token, length or number."""

    def spoil(reply):
        for choice in reply["choices"]:
            ids, content_of = choice["token_ids"], choice["logprobs"]["content"]
            if content is not None:
                content_of[0] = content
            if token is not None:
                ids[0] = token
            if n is not None:
                choice["token_ids"], choice["logprobs"]["content"] = [8] * n, content_of[:1] * n
            if index is not None:
                choice["index"] = index
        return reply

    return spoil


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda reply: {"choices": reply["choices"][:1]},
            r"asked for 2 completions .*, got 1 with",
        ),
        (lambda reply: {"choices": [{**c, "logprobs": None} for c in reply["choices"]]}, "without"),
        (lambda _: {"choices": None}, "a reply without token ids"),
        (lambda _: {"error": {"message": "boom"}}, "HTTP 200: .*boom"),
        (changed(content={"token_id": 1}), "a reply without token ids"),
        (changed(content={"logprob": math.nan}), "log-probability nan, which is no finite number"),
        (changed(content={"logprob": None}), "log-probability None, which is no finite number"),
        (changed(token=1_000_000), r"has token 1000000, and the student's tokens are 0 to \d+"),
        (changed(token="5"), "has token '5', and the student's tokens"),
        (changed(token=4), "token 4, which stands for media and was forbidden"),
        (changed(index=0), "asked for 2 completions"),
        (changed(n=50), r"at most 6 tokens, got 2 .*\(50, 50\)"),
    ],
)
def test_replies_that_are_no_completions_are_refused(
    serving, server, untied_folder, spoil, message
):
    _, trainer = prepared(serving(), load_student(str(untied_folder)))
    server.spoil = spoil
    with pytest.raises(EngineError, match=message):
        generate(trainer, ["s0"])


def test_the_reward_check_prints_how_far_server_and_trainer_are_apart(serving, server):
    text = check_rewards(serving(), force=True)
    (line,) = [line for line in text.splitlines() if "rollouts by" in line]
    assert server.url in line
    mean, most = (float(line.split(word)[0].split()[-1]) for word in (" on average", " at most"))
    assert 0 < mean < most < NEAR
    assert len(server.reloads) == 1


def test_where_the_server_is_belongs_to_no_training(serving):
    one, other = serving(), serving(rollouts={"base_url": "http://gpu:1", "timeout_s": 5.0})
    assert grpo._settings(one.grpo) == grpo._settings(other.grpo)
    cut = serving(rollouts={"importance_sampling_clip_max": 2.0})
    assert grpo._settings(one.grpo) != grpo._settings(cut.grpo)


def test_frames_stand_where_the_trainer_puts_them(untied_folder):
    """vLLM multiplies in double precision, the trainer in single."""
    rates = [7 / (ms / 1000) for ms in range(500, 30_001, 70)]
    n_off = 0
    for rate in rates:
        seconds = torch.tensor(2 / rate)
        trainers = (torch.arange(4) * seconds * 25).long().numpy()
        sent = same_times(seconds, 4).item()
        servers = (np.arange(4) * (sent * 25)).astype(np.int64)
        assert np.abs(servers - trainers).max() <= 1
        n_off += bool((servers != trainers).any())
    assert n_off <= 0.02 * len(rates)
