from __future__ import annotations

import shutil

import pytest

from avrt import answers
from avrt.config import MediaConfig, load_config
from avrt.datasets import read_samples
from avrt.evaluate import plan, protocol
from avrt.evaluate.protocol import (
    differences,
    files_digest,
    protocol_id,
    questions_digest,
    read_files,
)
from avrt.runs import write_json


@pytest.fixture
def own_root(tmp_path, bench_root):
    """A copy of the clips that may be changed."""
    root = tmp_path / "own"
    shutil.copytree(bench_root, root)
    return root


def samples_of(config):
    return list(read_samples(config.eval.benchmarks["clips"]))


def id_of(config) -> str:
    return plan(config).splitlines()[0].rpartition(" ")[2]


@pytest.mark.parametrize(
    "change",
    [
        "media.n_frames=5",
        "media.max_pixels=3920",
        "media.max_audio_s=2.5",
        "eval.max_new_tokens=9",
        "eval.benchmarks.clips.sample=3",
        "student.prompt=blind",
        "eval.prompt=official",
        "eval.models.base={model: base, temperature: 0.5}",
        "eval.models.base={model: base, engine: {kind: openai}}",
        "eval.models.base={model: base, prompt: audio}",
    ],
)
def test_what_decides_an_answer_changes_the_id(config, change, tmp_path):
    from avrt.config import dump_config

    path = tmp_path / "config.yaml"
    path.write_text(dump_config(config))
    assert id_of(load_config(path, (change,))) != id_of(config) == id_of(load_config(path))


@pytest.mark.parametrize(
    "change",
    [
        "eval.batch_size=7",
        "media.workers=2",
        "eval.limit=2",
        "eval.models.base=some/other",
        "run.seed=5",
        "report.gallery_items=1",
    ],
)
def test_what_decides_no_answer_does_not(config, change, tmp_path):
    from avrt.config import dump_config

    path = tmp_path / "config.yaml"
    path.write_text(dump_config(config))
    assert id_of(load_config(path, (change,))) == id_of(config)


def test_a_seed_matters_where_answers_are_drawn(config, tmp_path):
    from avrt.config import dump_config

    path = tmp_path / "config.yaml"
    path.write_text(dump_config(config))
    drawn = "eval.models.base={model: base, temperature: 0.5}"
    assert id_of(load_config(path, (drawn,))) != id_of(load_config(path, (drawn, "run.seed=5")))


def test_another_parser_is_another_protocol(monkeypatch):
    before = protocol_id({"prompt": "p"})
    monkeypatch.setattr(protocol, "PARSER_VERSION", answers.PARSER_VERSION + 1)
    assert protocol_id({"prompt": "p"}) != before


def test_a_changed_media_file_changes_the_digest(config, own_root, tmp_path):
    samples, cache = samples_of(config), tmp_path / "media.json"
    before = read_files(samples, own_root, cache, MediaConfig())
    (own_root / "silent.mp4").write_bytes((own_root / "clip.mp4").read_bytes())
    changed = read_files(samples, own_root, cache, MediaConfig())
    assert files_digest(changed) != files_digest(before)
    (own_root / "silent.mp4").unlink()
    absent = read_files(samples, own_root, cache, MediaConfig())
    assert len({files_digest(files) for files in (before, changed, absent)}) == 3


def test_a_copied_folder_has_the_same_digest(config, bench_root, own_root, tmp_path):
    samples, cache = samples_of(config), tmp_path / "media.json"
    (own_root / "clip.mp4").touch()
    one, two = (read_files(samples, root, cache, MediaConfig()) for root in (bench_root, own_root))
    assert files_digest(one) == files_digest(two)


def test_a_file_that_is_known_is_not_read_again(config, bench_root, tmp_path, monkeypatch):
    samples, cache = samples_of(config), tmp_path / "media.json"
    write_json(cache, read_files(samples, bench_root, cache, MediaConfig()))
    monkeypatch.setattr(protocol, "file_digest", lambda path: pytest.fail(f"{path} was read"))
    assert set(read_files(samples, bench_root, cache, MediaConfig())) == {"clip.mp4", "silent.mp4"}


def test_a_broken_cache_is_made_again(config, bench_root, tmp_path):
    samples, cache = samples_of(config), tmp_path / "media.json"
    whole = read_files(samples, bench_root, cache, MediaConfig())
    for text in ("", "[1]", '{"clip.mp4": 5}', '{"clip.mp4": [[1, 2], "x"]}'):
        cache.write_text(text)
        assert read_files(samples, bench_root, cache, MediaConfig()) == whole


def test_questions_are_known_by_options_and_gold(config):
    samples = samples_of(config)
    assert questions_digest(samples) != questions_digest(samples[:-1])
    assert questions_digest(samples) != questions_digest(samples[::-1])


def test_differences_name_both_values():
    one = {"n_frames": 8, "prompt": "a" * 64, "temperature": 0.0}
    two = {"n_frames": 16, "prompt": "b" * 64, "temperature": 0.0, "seed": 1}
    assert differences(one, two) == [
        "n_frames: 8 / 16",
        f"prompt: {'a' * 12} / {'b' * 12}",
        "seed: unknown / 1",
    ]
    assert differences(one, one) == []
