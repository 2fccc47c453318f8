"""Facts about integrations/lmms_eval; only its model class needs lmms-eval itself."""

from __future__ import annotations

import json
import sys
from random import Random

import numpy as np
import pytest
import yaml
from PIL import Image

from avrt.config import MediaConfig
from avrt.datasets import read_items
from avrt.errors import MediaError
from avrt.evaluate.benchmarks import BENCHMARKS, official_prompt
from avrt.evaluate.scoring import score
from avrt.media import encode_wav, read_clip
from avrt.types import Completion, Waveform
from benchmark_sets import SETS, write_set
from restated import RESTATED, responses


@pytest.fixture(autouse=True)
def package(repository, monkeypatch):
    monkeypatch.syspath_prepend(str(repository / "integrations" / "lmms_eval"))
    yield
    for name in [name for name in sys.modules if name.startswith("avrt_lmms_eval")]:
        del sys.modules[name]


def write(root, name, prompt="official", modality="av"):
    from avrt_lmms_eval.tasks import write_task

    data = write_set(root / "set", name)
    path = write_task(data, root / "tasks", prompt, modality)
    rows = path.with_suffix(".jsonl").read_text(encoding="utf-8").splitlines()
    return path, list(map(json.loads, rows)), list(read_items(data))


@pytest.mark.parametrize("name", SETS)
def test_the_same_replies_get_the_same_verdicts(tmp_path, name):
    from avrt_lmms_eval.tasks import official_mean, process_results, strict_mean

    _, rows, items = write(tmp_path, name)
    random = Random(name)
    results, strict, official = [], [], []
    for row, item in zip(rows, items, strict=True):
        for text in responses(random, item, 200):
            results.append(process_results(row, [text]))
            failed = not text.strip()
            strict.append(0.0 if failed else score(Completion(text, "stop"), item.sample).value)
            verdict = RESTATED[name]["official"](None if failed else text, item)
            official += [verdict[0]] if verdict[1] else []
    assert [result["strict"] for result in results] == strict
    assert strict_mean(strict) == sum(strict) / len(strict)
    assert official_mean([r["official"] for r in results]) == sum(official) / len(official)


def test_the_mean_of_nothing_that_counts_is_no_error():
    from avrt_lmms_eval.tasks import official_mean

    assert official_mean([{"correct": False, "counted": False}]) == 0.0


@pytest.mark.parametrize("name", SETS)
def test_a_task_asks_what_the_authors_ask(tmp_path, name):
    from avrt_lmms_eval.tasks import doc_to_messages, doc_to_target

    _, rows, items = write(tmp_path, name)
    for row, item in zip(rows, items, strict=True):
        *_, user = messages = doc_to_messages(row)
        system, text = official_prompt(BENCHMARKS[name], item)
        assert user["content"][-1] == {"type": "text", "text": text}
        assert (len(messages) == 2) == (system is not None)
        assert doc_to_target(row) == item.sample.target
        kinds = {part["type"] for part in user["content"]}
        assert ("audio" in kinds) == ("a" in BENCHMARKS[name].modalities)
        assert bool(kinds & {"image", "video"}) == ("v" in BENCHMARKS[name].modalities)


def test_a_modality_that_is_not_asked_for_is_absent(tmp_path):
    from avrt_lmms_eval.tasks import doc_to_messages

    _, rows, _ = write(tmp_path, "daily_omni", "student", "a")
    (_, user) = doc_to_messages(rows[0])
    assert [part["type"] for part in user["content"]] == ["audio", "text"]
    assert user["content"][0]["url"].startswith("/")


def test_the_tasks_file_names_functions_that_exist(tmp_path):
    from avrt_lmms_eval import tasks

    path, rows, _ = write(tmp_path, "mmar", modality="a")
    assert path.name == "avrt_mmar_a.yaml"

    class Loader(yaml.SafeLoader):
        pass

    def function(loader, node):
        module, _, name = loader.construct_scalar(node).rpartition(".")
        assert module == "avrt_lmms_eval.tasks"
        return getattr(tasks, name)

    Loader.add_constructor("!function", function)
    task = yaml.load(path.read_text(), Loader)
    assert task["dataset_kwargs"]["data_files"]["test"] == str(path.with_suffix(".jsonl"))
    replies = [task["process_results"](row, [row["target"]]) for row in rows]
    for metric in task["metric_list"]:
        assert metric["aggregation"]([reply[metric["metric"]] for reply in replies]) == 1.0


def test_media_in_memory_and_on_disk_become_the_same_prompt(tmp_path):
    from avrt_lmms_eval.messages import prompt_of

    media = MediaConfig(max_pixels=56 * 56)
    picture = Image.fromarray(np.arange(56 * 56 * 3, dtype=np.uint8).reshape(56, 56, 3))
    picture.save(tmp_path / "picture.png")
    sound = np.sin(np.arange(8000) / 9).astype(np.float32)
    (tmp_path / "sound.wav").write_bytes(encode_wav(Waveform(sound)))
    scratch = tmp_path / "scratch"
    scratch.mkdir()

    def prompt(image, audio):
        content = [
            {"type": "image", "url": image},
            {"type": "audio", "url": audio},
            {"type": "text", "text": "What?"},
        ]
        return prompt_of([{"role": "user", "content": content}], media, scratch)

    on_disk = prompt(str(tmp_path / "picture.png"), str(tmp_path / "sound.wav"))
    in_memory = prompt(picture, {"array": sound, "sampling_rate": 16_000})
    direct = read_clip(tmp_path / "picture.png", media, "v").frames
    for got in (on_disk, in_memory):
        assert (got.text, got.system) == ("What?", None)
        assert got.frames.digest == direct.digest
        assert got.audio.digest == on_disk.audio.digest
    with pytest.raises(MediaError):
        prompt(str(tmp_path / "gone.png"), str(tmp_path / "sound.wav"))


def test_more_than_one_picture_is_refused():
    from avrt_lmms_eval.messages import prompt_of

    part = {"type": "image", "url": "x.png"}
    with pytest.raises(ValueError, match="2 pictures and 0 sounds; the student takes one each"):
        prompt_of([{"role": "user", "content": [part, part]}], MediaConfig(), None)
