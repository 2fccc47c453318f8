"""Facts about exports: what other tools load is what the dataset holds, and nothing is lost."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from PIL import Image

import avrt.engines.torchcompat  # noqa: F401
from avrt.cli import cli
from avrt.config import Config, load_config
from avrt.errors import ConfigError, DataError
from avrt.exchange import exports
from avrt.exchange.exports import FORMATS
from avrt.exchange.exports.formats import ExportOptions
from avrt.generate import build, merge, trace
from avrt.generate.dataset import DATASET_SCHEMA
from avrt.media import read_frames
from avrt.runs import read_parquet, write_parquet
from clips import encode_clip, tone
from exported import LISTS, check_messages, check_trl
from failing_opens import fail_opens
from scripted_run import MakeConfig, right

datasets = pytest.importorskip("datasets")
CHAT = ("trl", "ms-swift", "llamafactory", "video-r1")
MEDIA = ExportOptions(with_media=True)
LEAVES_FILES_OPEN = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
"""So does the loader of webdataset."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with clips, and a run with a dataset: three videos, a picture, odd ones."""
    root = tmp_path_factory.mktemp("export")
    data = root / "data"
    (data / "videos").mkdir(parents=True)
    for clip in range(2):
        encode_clip(
            data / "videos" / f"c.{clip}.mp4", n_frames=8, size=(56, 56), sound=tone(0.5, 440)
        )
    encode_clip(data / "tone.mp4", n_frames=8, size=(56, 56), sound=tone(0.5, 220))
    Image.fromarray(np.full((56, 56, 3), 90, np.uint8)).save(data / "picture.png")
    (data / "broken.mp4").write_bytes(b"no clip")
    parts = {
        "train": [
            row("a.1"), row("a.2", video="videos/c.1.mp4"),
            row("picture", video=None, image="picture.png", audio="tone.mp4"),
        ],
        "validation": [row("b")],
    }  # fmt: skip
    write(load_config(None, settings(root)), parts)
    return root


def settings(root: Path) -> tuple[str, ...]:
    return (
        f"run.dir={root / 'runs'}", "run.name=test", f"data.root={root / 'data'}",
        "media.n_frames=4", "media.workers=0",
    )  # fmt: skip


def row(name: str, **changes: Any) -> dict[str, Any]:
    """A row of the dataset, as the stage `build` writes it."""
    fields: dict[str, Any] = dict.fromkeys(DATASET_SCHEMA.names)
    fields |= {
        "id": name, "video_name": "c", "video_id": "1", "question": "What is it?",
        "choices": ["bell", "drum"], "answer": 1, "answer_letter": "B", "answer_text": "drum",
        "question_relation": "both", "question_type": "Which",
        "av_reasoning": "<think>It drums.</think>\n<answer>B</answer>", "think": "It drums.",
        "video": "videos/c.0.mp4", "source": "test", "call_keys": ["k"],
    }  # fmt: skip
    return fields | changes


def write(config: Config, parts: dict[str, list[dict[str, Any]]]) -> None:
    folder = config.run.path / "dataset"
    for name in ("train", "validation"):
        write_parquet(folder / f"{name}.parquet", parts.get(name, []), DATASET_SCHEMA)
    write_parquet(folder / "rejected.parquet", [], build.REJECTED_SCHEMA)
    (folder / "README.md").write_text("---\nlicense: other\n---\n# Card\n")


@pytest.fixture
def config(place: Path) -> Config:
    return load_config(None, settings(place))


@pytest.fixture
def odd(tmp_path: Path, place: Path) -> Callable[..., Config]:
    """A run of its own with the given rows for training."""

    def make(*rows: dict[str, Any]) -> Config:
        config = load_config(None, (*settings(place), f"run.dir={tmp_path / 'odd'}"))
        write(config, {"train": list(rows)})
        return config

    return make


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def all_bytes(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


# What is refused or dropped


def test_a_run_without_a_dataset_is_refused(tmp_path: Path) -> None:
    config = load_config(None, (f"run.dir={tmp_path}",))
    with pytest.raises(DataError, match=r"train\.parquet: not found"):
        exports.run(config, "trl", ExportOptions())


def test_an_existing_folder_is_refused_and_left_alone(config: Config, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    for output in (tmp_path, tmp_path / "mine"):
        with pytest.raises(ConfigError, match="already exists; delete it"):
            exports.run(config, "trl", ExportOptions(), output)
    assert all_bytes(tmp_path) == {"mine": b"mine"}


@pytest.mark.parametrize("name", ["llamafactory", "webdataset", "hf"])
def test_grpo_is_refused_where_it_means_nothing(config: Config, name: str) -> None:
    with pytest.raises(ConfigError, match="known: trl, ms-swift, video-r1"):
        exports.run(config, name, ExportOptions(grpo=True))
    with pytest.raises(ConfigError, match="known: trl, ms-swift"):
        exports.run(config, "parquet", ExportOptions())


def test_nothing_to_export_is_an_error_and_leaves_nothing(odd, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="none of the 0 rows can be exported: the dataset is empty"):
        exports.run(odd(), "trl", ExportOptions())
    with pytest.raises(DataError, match=r"none of the 1 rows .*: 1 dropped/no_trace"):
        exports.run(odd(row("x", av_reasoning=None)), "trl", ExportOptions())
    assert not list((tmp_path / "odd" / "test").glob("export/*"))


def test_a_row_that_is_none_is_named(odd) -> None:
    with pytest.raises(DataError, match=r"train\.parquet:1: not a row of the dataset"):
        exports.run(odd(row("x", answer=7)), "trl", ExportOptions())


def test_what_cannot_be_exported_is_dropped_by_name_and_the_sums_hold(odd) -> None:
    rows = [
        row("fine"),
        row("mute", video=None, image="picture.png"),
        row("sound", video=None, audio="tone.mp4"),
        row("bare", av_reasoning=None),
        row("mark", question="Is <video> here?"),
        row("token", choices=["<|image_pad|>", "drum"]),
        row("apart", audio="tone.mp4"),
        row("broken", video="broken.mp4"),
        row("gone", video="gone.mp4"),
    ]
    found = {
        name: {
            key: n for key, n in exports.run(odd(*rows), name, MEDIA).counts.items() if "/" in key
        }
        for name in FORMATS
    }
    halves = {"dropped/no_sound": 1, "dropped/no_picture": 1}
    failed = {"failed/not_media": 1, "failed/missing": 1}
    chat = {**halves, **failed, "dropped/no_trace": 1, "dropped/media_token": 1}
    assert found == {
        "trl": chat,
        "ms-swift": chat | {"dropped/media_token": 2},
        "llamafactory": chat | {"dropped/media_token": 2},
        "video-r1": chat | {"dropped/separate_sound": 1},
        "webdataset": halves | failed,
        "hf": halves | failed,
    }
    summary = exports.run(
        odd(*rows), "ms-swift", ExportOptions(), odd(*rows).run.path / "again"
    ).summary
    assert "1 dropped/separate_sound, such as apart" in summary
    assert "set USE_AUDIO_IN_VIDEO=true" in summary.replace("\n", " ")


@pytest.mark.parametrize(
    ("name", "how"),
    [("hf", "killed"), ("trl", "killed"), ("trl", "EACCES"), ("hf", "EIO"), ("trl", "EMFILE")],
)
def test_rows_whose_clip_cannot_be_read_now_end_with_1_and_come_with_the_same_command(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, name: str
) -> None:
    out = tmp_path / "out"
    command = ["export", *settings(place), "media.workers=1", "--to", name, "--with-media"]
    with monkeypatch.context() as patch:
        fail_opens(patch, tmp_path / "hooks", "c.1.mp4", how)
        lost = CliRunner().invoke(cli, [*command, "--output", str(out)])
    error_class = {"killed": "killed", "EACCES": "permission"}.get(how, "unreadable")
    assert lost.exit_code == 1, lost.output
    assert "4 rows -> 2 train, 1 validation" in lost.output
    assert f"(1 failed/{error_class}; the first: a.2); mend that" in lost.output
    assert f"1 failed/{error_class}" in (out / "INCOMPLETE.md").read_text()
    mended = CliRunner().invoke(cli, [*command, "--output", str(out)])
    assert mended.exit_code == 0, mended.output
    assert "4 rows -> 3 train, 1 validation" in mended.output
    assert not (out / "INCOMPLETE.md").exists()
    again = CliRunner().invoke(cli, [*command, "--output", str(out)])
    assert again.exit_code == 2, "a complete export is not replaced"


def test_a_failure_on_the_way_leaves_nothing(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setitem(FORMATS, "trl", replace(FORMATS["trl"], write=fail))
    with pytest.raises(OSError, match="No space left"):
        exports.run(config, "trl", MEDIA, tmp_path / "out" / "trl")
    assert not (tmp_path / "out").exists()


# No bytes, no place of this machine, the same bytes again


@pytest.mark.parametrize("name", list(FORMATS))
def test_without_media_no_byte_of_a_clip_and_no_absolute_path(
    config: Config, tmp_path: Path, place: Path, name: str
) -> None:
    result = exports.run(config, name, ExportOptions(), tmp_path / "one")
    exports.run(config, name, ExportOptions(), tmp_path / "two")
    written = all_bytes(tmp_path / "one")
    assert written == all_bytes(tmp_path / "two")
    assert result.counts["read"] == result.counts["kept"] == 4
    for content in written.values():
        assert str(place).encode() not in content
        assert not any(mark in content for mark in (b"ftyp", b"fLaC", b"\xff\xd8\xff", b"\x89PNG"))


@pytest.mark.parametrize("name", CHAT)
def test_absolute_paths_are_written_only_when_asked_for_and_exist(
    config: Config, tmp_path: Path, name: str
) -> None:
    exports.run(config, name, ExportOptions(absolute=True), tmp_path / "out")
    text = b"".join(all_bytes(tmp_path / "out").values()).decode()
    assert f'"{config.data.root.resolve()}/videos/c.0.mp4"' in text


def test_clips_are_read_in_processes_of_their_own(config: Config, tmp_path: Path) -> None:
    result = exports.run(config, "trl", MEDIA, tmp_path / "out")
    assert result.counts["kept"] == 4
    frames = list((tmp_path / "out" / "media").glob("c_0-*/*.jpg"))
    assert len(frames) == 4


# TRL


def test_trl_gets_frames_with_media(config: Config, tmp_path: Path) -> None:
    out = tmp_path / "out"
    exports.run(config, "trl", MEDIA, out)
    rows = lines(out / "train.jsonl")
    assert set(rows[0]) == {"id", "prompt", "completion", "images", "audio", "solution"}
    assert [len(one["images"]) for one in rows] == [4, 4, 1]
    check_trl(rows)
    first = rows[0]
    assert first["completion"] == [
        {"role": "assistant", "content": [{"type": "text", "text": row("")["av_reasoning"]}]}
    ]
    assert "(A) bell\n(B) drum" in first["prompt"][-1]["content"][-1]["text"]
    pixels = np.array(Image.open(out / first["images"][0]))
    truth = read_frames(config.data.root / "videos" / "c.0.mp4", config.media).pixels[0]
    assert np.abs(pixels.astype(int) - truth).mean() < 4
    with av.open(out / first["audio"]) as sound:
        assert sound.streams.audio[0].codec_context.name == "flac"
        assert sound.duration == pytest.approx(500_000, abs=50_000)


def test_trl_rows_load_with_the_library_and_render_with_its_own_functions(
    config: Config, tmp_path: Path
) -> None:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast
    from trl.data_utils import maybe_apply_chat_template

    out = tmp_path / "out"
    exports.run(config, "trl", ExportOptions(), out)
    files = {split: str(out / f"{split}.jsonl") for split in ("train", "validation")}
    loaded = datasets.load_dataset("json", data_files=files, cache_dir=str(tmp_path / "cache"))
    assert loaded.num_rows == {"train": 3, "validation": 1}
    check_trl(lines(out / "train.jsonl"))
    parts = lines(out / "train.jsonl")[2]["prompt"][-1]["content"]
    assert parts[:2] == [
        {"type": "image", "image": "picture.png"}, {"type": "audio", "audio": "tone.mp4"},
    ]  # fmt: skip
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel({"a": 0}, "a")))
    tokenizer.chat_template = (
        "{% for m in messages %}[{{ m.role }}]{% for p in m.content %}"
        "{{ p.text if p.type == 'text' else '<' + p.type + '>' }}{% endfor %}{% endfor %}"
        "{% if add_generation_prompt %}[assistant]{% endif %}"
    )
    rendered = maybe_apply_chat_template(loaded["train"][0], tokenizer)
    assert "[user]<video><audio>" in rendered["prompt"]
    assert rendered["completion"] == row("")["av_reasoning"]


def test_grpo_rows_have_a_solution_and_no_trace(config: Config) -> None:
    kept = {}
    for name in ("trl", "ms-swift"):
        result = exports.run(config, name, ExportOptions(grpo=True))
        folder = config.run.path / "export" / f"{name}-grpo"
        kept[name] = lines(folder / "train.jsonl")[0]
        assert result.counts["kept"] == 4
        assert "drums" not in (folder / "train.jsonl").read_text()
    assert set(kept["trl"]) == {"id", "prompt", "solution"}
    assert set(kept["ms-swift"]) == {"messages", "videos", "solution", "id"}
    assert [turn["role"] for turn in kept["ms-swift"]["messages"]][-1] == "user"
    assert kept["trl"]["solution"] == kept["ms-swift"]["solution"] == "B"


# ms-swift, LLaMA-Factory


def test_ms_swift_takes_the_clip_with_its_own_sound(config: Config, tmp_path: Path) -> None:
    exports.run(config, "ms-swift", ExportOptions(), tmp_path / "out")
    first, _, picture = lines(tmp_path / "out" / "train.jsonl")
    for one in (first, picture):
        check_messages(one)
    assert set(first) == {"messages", "videos"}
    assert first["videos"] == ["videos/c.0.mp4"]
    assert first["messages"][-2]["content"].startswith("<video>")
    assert set(picture) == {"messages", "images", "audios"}
    assert picture["messages"][-2]["content"].startswith("<image><audio>")


def test_ms_swift_takes_frames_and_sound_with_media(config: Config, tmp_path: Path) -> None:
    out = tmp_path / "out"
    exports.run(config, "ms-swift", MEDIA, out)
    first, _, picture = lines(out / "train.jsonl")
    for one in (first, picture):
        check_messages(one)
    assert set(first) == {"messages", "videos", "audios", "chat_template_kwargs"}
    assert len(first["videos"]) == 1
    assert len(first["videos"][0]) == 4
    named = [*first["videos"][0], *first["audios"], *picture["images"], *picture["audios"]]
    assert all((out / name).is_file() for name in named)
    frames = read_frames(config.data.root / "videos" / "c.0.mp4", config.media)
    assert first["chat_template_kwargs"] == {"fps": pytest.approx(frames.fps, abs=1e-5)}


@pytest.mark.parametrize("options", [ExportOptions(), MEDIA])
def test_llamafactory_finds_its_files_and_every_video_is_followed_by_its_sound(
    config: Config, tmp_path: Path, options: ExportOptions
) -> None:
    out = tmp_path / "out"
    exports.run(config, "llamafactory", options, out)
    info = json.loads((out / "dataset_info.json").read_text())
    assert set(info) == {"avrt_sft", "avrt_sft_validation"}
    for entry in info.values():
        assert set(entry) == {"file_name", "formatting", "columns", "tags"}
        assert entry["formatting"] == "sharegpt"
        rows = json.loads((out / entry["file_name"]).read_text())
        for one in rows:
            assert set(one) == set(entry["columns"].values())
            check_messages(one)
            text = one["messages"][-2]["content"]
            assert len(one["videos"]) == text.count("<video><audio>")
            assert len(one["audios"]) == 1
            root = out if options.with_media else config.data.root
            assert all((root / name).is_file() for kind in LISTS.values() for name in one[kind])
    loaded = datasets.load_dataset(
        "json", data_files=str(out / "avrt_sft.json"), cache_dir=str(tmp_path / "cache")
    )
    assert loaded["train"].num_rows == 3


# Video-R1, EchoInk


@pytest.mark.parametrize("options", [ExportOptions(), MEDIA])
def test_video_r1_rows_have_the_keys_of_both_forms(
    config: Config, tmp_path: Path, options: ExportOptions
) -> None:
    out = tmp_path / "out"
    exports.run(config, "video-r1", options, out)
    rows = json.loads((out / "train.json").read_text())
    keys = {"problem_id", "problem", "data_type", "problem_type", "options", "process",
            "solution", "path", "data_source"}  # fmt: skip
    assert all(set(one) == keys for one in rows)
    assert [one["problem_id"] for one in rows] == [1, 2, 3]
    video, _, picture = rows
    assert video["data_type"] == "video"
    assert video["problem"] == "What is it?"
    assert video["options"] == ["A. bell", "B. drum"]
    assert video["process"] == "<think>It drums.</think>"
    assert video["solution"] == "<answer>B</answer>"
    assert picture["data_type"] == "image_audio"
    assert set(picture["path"]) == {"image", "audio"}
    root = out if options.with_media else config.data.root
    names = [video["path"], *picture["path"].values()]
    assert all((root / name).is_file() for name in names)
    assert video["path"].startswith("./")


def test_video_r1_prompts_for_grpo_have_no_process(config: Config, tmp_path: Path) -> None:
    exports.run(config, "video-r1", ExportOptions(grpo=True), tmp_path / "out")
    rows = json.loads((tmp_path / "out" / "train.json").read_text())
    assert all("process" not in one for one in rows)


# WebDataset


@LEAVES_FILES_OPEN
def test_webdataset_reads_the_shards_back(config: Config, tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    out = tmp_path / "out"
    exports.run(config, "webdataset", MEDIA, out)
    assert not (out / "media").exists()
    shard = str(out / "train-000000.tar")
    rows = {one["__key__"]: one for one in webdataset.WebDataset(shard, shardshuffle=False)}
    assert set(rows) == {"a_1", "a_2", "picture"}
    for key, ending, clip in (
        ("a_1", "mp4", "videos/c.0.mp4"),
        ("picture", "png", "picture.png"),
    ):
        one = rows[key]
        assert one[ending] == (config.data.root / clip).read_bytes()
        with av.open(io.BytesIO(one["flac"])) as sound:
            assert sound.streams.audio[0].rate == 16_000
    assert json.loads(rows["a_1"]["json"])["id"] == "a.1"


@LEAVES_FILES_OPEN
def test_ids_that_become_equal_names_stay_apart(odd, tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    config = odd(row("a.1"), row("a_1"), row("a/1"))
    exports.run(config, "webdataset", ExportOptions(), tmp_path / "out")
    shard = str(tmp_path / "out" / "train-000000.tar")
    loaded = list(webdataset.WebDataset(shard, shardshuffle=False))
    assert [json.loads(one["json"])["id"] for one in loaded] == ["a.1", "a_1", "a/1"]
    assert len({one["__key__"] for one in loaded}) == 3


# The Hub


def test_the_hub_loads_all_three_configurations(make_config: MakeConfig, tmp_path: Path) -> None:
    config = make_config()
    for stage in (trace, merge, build):
        stage.run(config)
    out = tmp_path / "out"
    result = exports.run(config, "hf", ExportOptions(), out)
    cache = str(tmp_path / "cache")
    loaded = {
        name: datasets.load_dataset(str(out), name, cache_dir=cache)
        for name in ("default", "teachers", "rejected")
    }
    n_loaded = loaded["default"].num_rows
    assert n_loaded == {name: result.counts[name] for name in ("train", "validation")}
    stored = read_parquet(config.run.path / "dataset" / "train.parquet")
    assert loaded["default"]["train"].to_list() == stored
    assert loaded["teachers"]["train"].num_rows == 14
    assert loaded["rejected"]["train"]["reason"] == ["failed/no_audio"]
    card = (out / "README.md").read_text()
    assert "embed_external_files=False" in card
    assert "## What was lost" in card
    assert right(3) in loaded["default"]["train"]["answer_letter"]


def test_the_hub_gets_frames_and_sound_with_media(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from avrt.exchange.exports import hub

    monkeypatch.setattr(hub, "GROUP_BYTES", 1)
    out = tmp_path / "out"
    exports.run(config, "hf", MEDIA, out)
    assert not (out / "media").exists()
    assert pq.ParquetFile(out / "data" / "traces" / "train.parquet").num_row_groups == 3
    loaded = datasets.load_dataset(str(out), cache_dir=str(tmp_path / "cache"))["train"]
    assert isinstance(loaded.features["sound"], datasets.Audio)
    sounds = loaded.cast_column("sound", datasets.Audio(decode=False))
    first = sounds[0]
    assert [frame.size for frame in first["frames"]] == [(56, 56)] * 4
    with av.open(io.BytesIO(first["sound"]["bytes"])) as sound:
        assert sound.streams.audio[0].codec_context.name == "flac"
    assert loaded["id"][:] == ["a.1", "a.2", "picture"]
