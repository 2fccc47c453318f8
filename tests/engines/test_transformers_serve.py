"""The HTTP engine against a real server: at temperature 0 it writes what runs in process write."""

from __future__ import annotations

import json
import os
import random
import shutil
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import numpy as np
import pytest

from avrt.config import EngineConfig, MediaConfig
from avrt.engines import make_engine
from avrt.engines.weights import resolve
from avrt.prompts import format_options, load_prompt
from avrt.types import Prompt, Request, Sampling, Waveform

pytestmark = pytest.mark.slow

SERVE = "import avrt.engines.torchcompat; from transformers.cli.transformers import app; app()"
N_PROMPTS = 4


@pytest.fixture(scope="module")
def base_url(tmp_path_factory) -> Iterator[str]:
    """`transformers serve` on loopback; it loads whichever folder a request names."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("serve") / "log.txt"
    arguments = [
        "serve",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--device",
        "cpu",
        "--dtype",
        "float32",
    ]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", SERVE, *arguments], stdout=output, stderr=output, env=environment
        )
        try:
            for _ in range(600):
                assert process.poll() is None, log.read_text()[-2000:]
                try:
                    urlopen(f"http://127.0.0.1:{port}/health").close()
                    break
                except OSError:
                    time.sleep(0.2)
            else:
                pytest.fail(f"transformers serve did not start:\n{log.read_text()[-2000:]}")
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.terminate()
            process.wait(30)


@pytest.fixture(scope="module")
def writing_merger(tmp_path_factory) -> Path:
    """A tiny merger that knows one trace by heart, so that the server has one to take apart."""
    import torch

    from avrt.engines.encode import encode
    from avrt.world.networks import new_merger

    folder = tmp_path_factory.mktemp("writing_merger")
    model, tokenizer = new_merger()
    trace = (
        "<think>I see it and I hear it.\nOnly (B) fits both.</think><answer>B</answer><|im_end|>"
    )
    prompt_ids = encode(tokenizer, Prompt(merge_texts()[0])).input_ids
    trace_ids = torch.tensor(tokenizer.encode(trace, add_special_tokens=False))
    inputs = torch.cat([prompt_ids, trace_ids])[None]
    labels = torch.cat([torch.full_like(prompt_ids, -100), trace_ids])[None]
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for _ in range(40):
        model(input_ids=inputs, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return folder


def merge_texts() -> list[str]:
    from avrt.world.content import draw_scene
    from avrt.world.text import audio_analysis, draw_question, vision_analysis

    rng = random.Random(5)
    texts = []
    for _ in range(N_PROMPTS):
        scene = draw_scene(rng)
        question = draw_question(scene, rng)
        fields = {
            "question": question.text,
            "options": format_options(question.options),
            "answer": "(B)",
            "audio_analysis": audio_analysis(scene, question, rng),
            "visual_analysis": vision_analysis(scene, question, rng),
        }
        texts.append(load_prompt("world/merge").fill(**fields)[1])
    return texts


def listening_prompts() -> list[Prompt]:
    """World sounds, on the grid of 16-bit samples, so that the WAV on the way changes nothing."""
    from avrt.world.content import draw_scene
    from avrt.world.render import render_sound
    from avrt.world.text import draw_question

    rng = random.Random(5)
    prompts = []
    for _ in range(N_PROMPTS):
        scene = draw_scene(rng)
        question = draw_question(scene, rng)
        fields = {"question": question.text, "options": format_options(question.options)}
        samples = np.clip(np.rint(render_sound(scene) * 32768), -32768, 32767) / 32768
        text = load_prompt("world/audio").fill(**fields)[1]
        prompts.append(Prompt(text, audio=Waveform(samples.astype(np.float32))))
    return prompts


def over_http_and_in_process(
    base_url: str, folder: str, prompts: list[Prompt]
) -> tuple[list[str], list[str]]:
    """The texts of both engines; the server is asked for the folder by its path."""
    requests = [
        Request(str(i), prompt, Sampling(max_new_tokens=160)) for i, prompt in enumerate(prompts)
    ]
    texts: list[list[str]] = []
    for config in (
        EngineConfig(kind="openai", base_url=base_url, concurrency=1, max_attempts=1),
        EngineConfig(kind="transformers", device="cpu"),
    ):
        done: dict[str, str] = {}
        engine = make_engine(config, folder, None, MediaConfig())
        engine.generate(
            requests,
            lambda request, completion, done=done: done.update({request.key: completion.text}),
        )
        engine.close()
        texts.append([done[request.key] for request in requests])
    return texts[0], texts[1]


def forbid_media_tokens(folder: Path) -> None:
    """Random weights may write them; a server can only be told through the checkpoint."""
    from avrt.engines.encode import suppress_token_ids
    from avrt.engines.weights import load

    settings = json.loads((folder / "generation_config.json").read_text())
    settings["suppress_tokens"] = suppress_token_ids(load(str(folder)).processor)
    (folder / "generation_config.json").write_text(json.dumps(settings))


def test_a_trace_comes_back_whole_although_the_server_splits_its_reasoning_off(
    base_url, writing_merger
):
    http, local = over_http_and_in_process(
        base_url, str(writing_merger), [Prompt(merge_texts()[0])]
    )
    assert local == [
        "<think>I see it and I hear it.\nOnly (B) fits both.</think><answer>B</answer>"
    ]
    assert http == local


def test_sound_gives_the_same_text_over_http_as_in_process(base_url, checkpoint, tmp_path):
    folder = shutil.copytree(checkpoint("audio_teacher"), tmp_path / "audio_teacher")
    forbid_media_tokens(folder)
    http, local = over_http_and_in_process(base_url, str(folder), listening_prompts())
    assert http == local
    assert len(set(local)) > 1


def test_the_worlds_merger_writes_the_same_traces_over_http_as_in_process(base_url):
    prompts = [Prompt(text) for text in merge_texts()]
    http, local = over_http_and_in_process(base_url, resolve("world:merger"), prompts)
    assert http == local


def test_the_worlds_audio_teacher_writes_the_same_over_http_as_in_process(base_url):
    http, local = over_http_and_in_process(
        base_url, resolve("world:audio_teacher"), listening_prompts()
    )
    assert http == local
