"""Facts about imported sets: published layouts become our columns, and no row is lost."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import avrt.engines.torchcompat  # noqa: F401
from avrt.config import Config, load_config
from avrt.errors import ConfigError, DataError
from avrt.exchange import exports, imports
from avrt.exchange.exports.formats import ExportOptions
from avrt.exchange.imports.columns import options_of
from avrt.generate import stats
from avrt.generate.dataset import DATASET_SCHEMA, REJECTED_SCHEMA
from avrt.generate.gates import GATES
from avrt.runs import read_parquet
from avrt.train.data import read_examples
from clips import encode_clip, tone

PARTS = ("train", "validation", "rejected")


@pytest.fixture
def config(tmp_path: Path) -> Config:
    videos = tmp_path / "data" / "videos"
    videos.mkdir(parents=True)
    encode_clip(videos / "abcdefghijk_000030.mp4", n_frames=8, size=(56, 56), sound=tone(0.5, 440))
    return make(tmp_path)


def make(root: Path, *changes: str, name: str = "test") -> Config:
    fixed = (f"run.dir={root / 'runs'}", f"run.name={name}", f"data.root={root / 'data'}")
    student = ("student.model=org/absent", "media.workers=1", "media.n_frames=2")
    return load_config(None, (*fixed, *student, *changes))


def published(number: int, **changes: Any) -> dict[str, Any]:
    """A row with the columns and types of AVRT-20K."""
    return {
        "id": number,
        "video_name": "abcdefghijk_30",
        "video_id": number % 10,
        "question": f"What is it, {number}?",
        "choices": ["A. bell", "B. drum", "C. horn", "D. rain"],
        "answer": str(number % 4),
        "question_relation": "Both",
        "question_type": "Which",
        "av_reasoning": f"<think>It is seen and heard.</think>\n<answer>{'ABCD'[number % 4]}"
        "</answer>",
        **changes,
    }


def write_avrt(folder: Path, rows: list[dict[str, Any]], n_files: int = 2) -> Path:
    """As on the Hub: files of one split below data/, and a card."""
    text = pa.string()
    fields = {"id": pa.int64(), "video_name": text, "video_id": pa.int64(), "question": text,
              "choices": pa.list_(text), "answer": text, "question_relation": text,
              "question_type": text, "av_reasoning": text}  # fmt: skip
    (folder / "data").mkdir(parents=True)
    for file in range(n_files):
        table = pa.Table.from_pylist(rows[file::n_files], schema=pa.schema(fields.items()))
        name = f"af3_kimivl-{file:05d}-of-{n_files:05d}.parquet"
        pq.write_table(table, folder / "data" / name)
    (folder / "README.md").write_text(
        "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: af3_kimivl\n"
        "    path: data/af3_kimivl-*\n---\n"
    )
    return folder


def echoink(number: int, **changes: Any) -> dict[str, Any]:
    """A row of AVQA-R1-6K."""
    return {
        "problem_id": number,
        "problem": "What is it?",
        "data_type": "image_audio",
        "problem_type": "multiple choice",
        "options": ["A. bell", "B. drum", "C. horn", "D. rain"],
        "solution": "<answer>B</answer>",
        "path": {"image": f"images/sample_{number}.jpg", "audio": f"audios/sample_{number}.wav"},
        "data_source": "OmniInstruct_v1-AVQA",
        **changes,
    }


def write_echoink(folder: Path, split: str, rows: list[dict[str, Any]]) -> Path:
    (folder / split).mkdir(parents=True, exist_ok=True)
    (folder / split / f"omni_rl_format_{split}.json").write_text(json.dumps(rows))
    return folder


def read(config: Config) -> dict[str, list[dict[str, Any]]]:
    return {name: read_parquet(config.run.path / "dataset" / f"{name}.parquet") for name in PARTS}


# What is refused


def test_what_is_no_such_set_is_refused(config: Config, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="known: avrt-20k, avqa-r1-6k"):
        imports.run(config, "avqa", tmp_path)
    with pytest.raises(ConfigError, match="absent: no such folder"):
        imports.run(config, "avrt-20k", tmp_path / "absent")
    with pytest.raises(DataError, match="no Parquet file"):
        imports.run(config, "avrt-20k", tmp_path)
    with pytest.raises(DataError, match="no rows in omni_rl_format_train"):
        imports.run(config, "avqa-r1-6k", tmp_path)
    with pytest.raises(ConfigError, match="comes with media"):
        imports.run(config, "avqa-r1-6k", "org/name", from_hub=True)
    assert not config.run.path.exists()


def test_files_of_another_form_are_named(config: Config, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    pq.write_table(pa.table({"id": [1], "question": ["x"]}), other / "x.parquet")
    with pytest.raises(DataError, match=r"x\.parquet: no column video_name, video_id, choices"):
        imports.run(config, "avrt-20k", other)
    (other / "x.parquet").write_bytes(b"no table")
    with pytest.raises(DataError, match=r"x\.parquet: not a readable Parquet file"):
        imports.run(config, "avrt-20k", other)
    (other / "omni_rl_format_train.json").write_text('{"problem_id": 1}')
    with pytest.raises(DataError, match="not a list of questions"):
        imports.run(config, "avqa-r1-6k", other)
    (other / "omni_rl_format_train.json").write_text("[")
    with pytest.raises(DataError, match="not valid JSON"):
        imports.run(config, "avqa-r1-6k", other)


def test_a_run_is_not_overwritten(config: Config, tmp_path: Path) -> None:
    one = write_avrt(tmp_path / "one", [published(1)])
    imports.run(config, "avrt-20k", one)
    other = write_avrt(tmp_path / "two", [published(2)])
    with pytest.raises(
        ConfigError, match=r"stage 'import' was already done .*other settings \(row"
    ):
        imports.run(config, "avrt-20k", other)
    (config.run.path / "manifests" / "build.json").write_text("{}")
    with pytest.raises(ConfigError, match="has built its dataset"):
        imports.run(config, "avrt-20k", one)


# AVRT-20K


def test_every_published_row_is_kept_or_rejected_by_name(config: Config, tmp_path: Path) -> None:
    faulty = {
        "no_options": {"choices": []},
        "bad_number_of_options": {"choices": ["one"]},
        "empty_option": {"choices": ["bell", None, "horn", "rain"]},
        "bad_answer": {"answer": "4"},
        "ambiguous_answer": {"choices": ["drum"] * 4},
        "bad_relation": {"question_relation": "Smell"},
        "no_question": {"question": " "},
        "no_question_type": {"question_type": None},
        "no_video_name": {"video_name": None},
        "bad_video_name": {"video_name": "../secret"},
        "no_trace": {"av_reasoning": None},
        "bad_format": {"av_reasoning": "It is B."},
        "wrong_letter": {"av_reasoning": "<think>x</think>\n<answer>A</answer>", "answer": "1"},
        "empty": {"av_reasoning": ""},
    }
    rows = [published(number) for number in range(1, 11)]
    rows += [published(100 + n, **change) for n, change in enumerate(faulty.values())]
    rows += [published(3)]
    source = write_avrt(tmp_path / "set", rows)
    result = imports.run(config, "avrt-20k", source)
    parts = read(config)
    assert result.counts["read"] == 25
    assert result.counts["kept"] == 10
    reasons = Counter(row["reason"].removeprefix("dropped/") for row in parts["rejected"])
    expected = Counter([*faulty, "duplicate_id", "no_trace"]) - Counter(["empty"])
    assert reasons == expected
    ids = [row["id"] for part in parts.values() for row in part]
    assert len(set(ids)) == len(ids) == 25
    assert {row["stage"] for row in parts["rejected"]} == {"import", "gate"}
    for name, part in parts.items():
        schema = pq.read_schema(config.run.path / "dataset" / f"{name}.parquet")
        assert schema.equals(REJECTED_SCHEMA if name == "rejected" else DATASET_SCHEMA)
        assert all(row["source"] for row in part)
    assert "1 dropped/bad_answer" in result.summary


def test_a_row_gets_our_columns(config: Config, tmp_path: Path) -> None:
    imports.run(config, "avrt-20k", write_avrt(tmp_path / "set", [published(2)], n_files=1))
    (row,) = read(config)["train"]
    told = {name: value for name, value in row.items() if value is not None}
    assert told.pop("gates").keys() == GATES.keys()
    assert told == {
        "id": "avrt-20k-2",
        "video_name": "abcdefghijk_000030",
        "video_id": "2",
        "question": "What is it, 2?",
        "choices": ["bell", "drum", "horn", "rain"],
        "answer": 2,
        "answer_letter": "C",
        "answer_text": "horn",
        "question_relation": "both",
        "question_type": "Which",
        "av_reasoning": "<think>It is seen and heard.</think>\n<answer>C</answer>",
        "think": "It is seen and heard.",
        "video": "videos/abcdefghijk_000030.mp4",
        "source": "af3_kimivl-00000-of-00001.parquet:1",
        "call_keys": [],
    }


@pytest.mark.parametrize(
    ("choices", "answers", "wanted"),
    [
        (["1", "2", "3", "4"], ["0", "1", "2", "3"], [0, 1, 2, 3]),
        (["1", "2", "3", "4"], ["1", "2", "3", "4"], [0, 1, 2, 3]),
        (["bell", "drum", "horn", "rain"], ["A", "B", "C", "D"], [0, 1, 2, 3]),
        (["bell", "drum", "horn", "rain"], ["(A)", "B.", "C", "D"], [0, 1, 2, 3]),
        (["A. bell", "B. drum", "C. horn", "D. rain"], ["A. bell", "drum", "horn", "rain"],
         [0, 1, 2, 3]),
        (["D", "C", "B", "A"], ["A", "B", "C", "D"], [0, 1, 2, 3]),
    ],
)  # fmt: skip
def test_the_form_of_the_answers_is_that_of_most_rows(
    config: Config, tmp_path: Path, choices: list[str], answers: list[str], wanted: list[int]
) -> None:
    rows = [
        published(n, choices=choices, answer=answer, video_id=1,
                  av_reasoning=f"<think>x</think>\n<answer>{'ABCD'[wanted[n]]}</answer>")
        for n, answer in enumerate(answers)
    ]  # fmt: skip
    imports.run(config, "avrt-20k", write_avrt(tmp_path / "set", rows, n_files=1))
    assert [row["answer"] for row in read(config)["train"]] == wanted


@pytest.mark.parametrize(
    ("kind", "answers"),
    [
        (pa.int64(), [0, 1, 2, 3]),
        (pa.float64(), [0.0, 1.0, 2.0, 3.0]),
        (pa.string(), ["a", "(b)", "c.", "D"]),
        (pa.string(), [" 0", "1 ", "2", "3"]),
        (pa.large_string(), ["bell", "B. drum", "(C) horn", " rain "]),
    ],
)
def test_answers_may_be_of_any_type_that_names_an_option(
    config: Config, tmp_path: Path, kind: pa.DataType, answers: list[Any]
) -> None:
    source = write_avrt(tmp_path / "set", [published(n) for n in range(4)], n_files=1)
    (path,) = (source / "data").glob("*.parquet")
    table = pq.read_table(path)
    index = table.column_names.index("answer")
    pq.write_table(table.set_column(index, "answer", pa.array(answers, kind)), path)
    imports.run(config, "avrt-20k", source)
    found = [row for part in read(config).values() for row in part]
    assert sorted(row["answer"] for row in found) == [0, 1, 2, 3]


def test_no_clip_is_on_both_sides_and_equal_sources_give_equal_bytes(
    config: Config, tmp_path: Path
) -> None:
    source = write_avrt(tmp_path / "set", [published(number) for number in range(60)])
    changed = make(tmp_path, "build.validation_fraction=0.3")
    imports.run(changed, "avrt-20k", source)
    parts = read(changed)
    train, validation = ({row["video_id"] for row in parts[name]} for name in PARTS[:2])
    assert len(validation) == 3
    assert not train & validation
    folder = changed.run.path / "dataset"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert imports.run(changed, "avrt-20k", source).summary.startswith("import: nothing to do")
    (changed.run.path / "manifests" / "import.json").unlink()
    imports.run(changed, "avrt-20k", source)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_what_the_hub_would_give_is_read_the_same_way(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    source = write_avrt(tmp_path / "set", [published(number) for number in range(8)])
    from_hub = imports.run(config, "avrt-20k", source, from_hub=True)
    from_folder = imports.run(make(tmp_path, name="other"), "avrt-20k", source)
    assert from_hub.counts == from_folder.counts


def test_stats_and_exports_work_on_an_imported_set(config: Config, tmp_path: Path) -> None:
    source = write_avrt(tmp_path / "set", [published(number) for number in range(8)])
    imports.run(config, "avrt-20k", source)
    text = stats.run(config).summary
    assert "| samples | 7 | 1 | 18,279 | 945 |" in text
    assert "| duration, s | – | – |" in text
    assert "Which teacher was right" not in text
    for name in exports.FORMATS:
        assert exports.run(config, name, ExportOptions()).counts["kept"] == 8
    card = (config.run.path / "dataset" / "README.md").read_text()
    assert "CC-BY-4.0" in card
    train = read(config)["train"]
    examples = read_examples(config.run.path / "dataset" / "train.parquet")
    assert [one.sample.id for one in examples] == [row["id"] for row in train]
    assert [one.trace for one in examples] == [row["av_reasoning"] for row in train]


# AVQA-R1-6K


def test_the_exchange_format_keeps_its_split_and_its_media(config: Config, tmp_path: Path) -> None:
    folder = write_echoink(tmp_path / "r1", "train", [echoink(1), echoink(2)])
    write_echoink(folder, "valid", [echoink(1)])
    result = imports.run(config, "avqa-r1-6k", folder)
    parts = read(config)
    ids = {name: [row["id"] for row in part] for name, part in parts.items()}
    assert ids == {
        "train": ["avqa-r1-6k-train-1", "avqa-r1-6k-train-2"],
        "validation": ["avqa-r1-6k-valid-1"],
        "rejected": [],
    }
    row = parts["train"][0]
    assert row["choices"] == ["bell", "drum", "horn", "rain"]
    assert (row["answer"], row["video"]) == (1, None)
    assert row["image"] == "train/images/sample_1.jpg"
    assert row["audio"] == "train/audios/sample_1.wav"
    assert row["av_reasoning"] is None
    assert row["gates"] is None
    assert "6 of 6 media files are missing in" in result.summary
    assert "no traces, so `avrt sft` cannot" in result.summary
    text = stats.run(config).summary
    assert "| this set | 0.003 | A + I | no |" in text
    assert "| format compliance, % | – | – |" in text
    with pytest.raises(DataError, match="3 dropped/no_trace"):
        exports.run(config, "video-r1", ExportOptions())


def test_an_export_for_grpo_of_the_imported_rows_is_the_same_rows(
    config: Config, tmp_path: Path
) -> None:
    rows = [echoink(1), echoink(2, solution="<answer>D</answer>")]
    folder = write_echoink(tmp_path / "r1", "train", rows)
    imports.run(config, "avqa-r1-6k", folder)
    exports.run(config, "video-r1", ExportOptions(grpo=True))
    out = config.run.path / "export" / "video-r1-grpo" / "train.json"
    back = json.loads(out.read_text())
    for one, given in zip(back, rows, strict=True):
        paths = {kind: f"train/{path}" for kind, path in given["path"].items()}
        assert one == given | {"path": paths, "data_source": "AVRT"}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_lists_are_read_as_text_from_anywhere_is(
    config: Config, tmp_path: Path, encoding: str
) -> None:
    folder = write_echoink(tmp_path / "r1", "train", [])
    path = folder / "train" / "omni_rl_format_train.json"
    text = json.dumps([echoink(1, problem="Was hört man? \ud83d")]).replace("h\\u00f6rt", "hört")
    path.write_bytes(text.encode(encoding))
    imports.run(config, "avqa-r1-6k", folder)
    assert [row["question"] for row in read(config)["train"]] == ["Was hört man? \ufffd"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfeh", "broken UTF-16"),
        (b"caf\xe9", "not UTF-8"),
        (b"[{}, 3]", "row 2: a int, not a question"),
        (b'[{"problem_id": NaN}]', "NaN is no JSON number"),
        (b"[" * 5000 + b"]" * 5000, "over 100 levels"),
    ],
)
def test_lists_that_cannot_be_taken_are_named(
    config: Config, tmp_path: Path, content: bytes, message: str
) -> None:
    folder = write_echoink(tmp_path / "r1", "train", [])
    (folder / "train" / "omni_rl_format_train.json").write_bytes(content)
    with pytest.raises(DataError, match=rf"omni_rl_format_train\.json: .*{message}"):
        imports.run(config, "avqa-r1-6k", folder)


def test_malformed_rows_of_the_exchange_format_are_named(config: Config, tmp_path: Path) -> None:
    faulty = {
        "not_multiple_choice": {"problem_type": "free-form"},
        "bad_answer": {"solution": "B"},
        "no_media": {"path": {"image": "x.jpg"}},
        "bad_path": {"path": {"image": "../../x.jpg", "audio": "x.wav"}},
        "no_options": {"options": None},
        "bad_option": {"options": ["A. x", {"B": "y"}]},
        "no_question": {"problem": None},
        "no_trace": {"process": ["<think>x</think>"]},
    }
    rows = [echoink(n, **change) for n, change in enumerate(faulty.values())]
    rows += [echoink(50, solution="<answer>F</answer>"), echoink(60), echoink(60)]
    imports.run(config, "avqa-r1-6k", write_echoink(tmp_path / "r1", "train", rows))
    parts = read(config)
    assert [row["id"] for row in parts["train"]] == ["avqa-r1-6k-train-60"]
    reasons = [row["reason"].removeprefix("dropped/") for row in parts["rejected"]]
    assert reasons == [*faulty, "bad_answer", "duplicate_id"]


@pytest.mark.parametrize(
    "path", [["x.mp4"], 5, {"video": {}}, {"video": True}, "/x.mp4", "a\\b.mp4"]
)
def test_a_path_that_is_none_is_no_file_of_that_name(config: Config, tmp_path: Path, path) -> None:
    imports.run(
        config, "avqa-r1-6k", write_echoink(tmp_path / "r1", "train", [echoink(1, path=path)])
    )
    (row,) = read(config)["rejected"]
    assert row["reason"] in ("dropped/bad_path", "dropped/no_media")


@pytest.mark.parametrize(
    ("named", "there", "found"),
    [
        ("caf\u00e9.mp4", "cafe\u0301.mp4", True),
        ("clip.mp4", "clip.MKV", True),
        ("clip.mp4.mp4", "clip.mp4", True),
        ("Clip-1.mp4", "clip1.mp4", False),
    ],
)
def test_clips_of_a_list_are_found_under_the_names_of_other_systems(
    config: Config, tmp_path: Path, named: str, there: str, found: bool
) -> None:
    folder = config.data.root / "train" / "videos"
    folder.mkdir(parents=True)
    (folder / there).write_bytes(b"x")
    rows = [echoink(1, path=f"videos/{named}")]
    result = imports.run(config, "avqa-r1-6k", write_echoink(tmp_path / "r1", "train", rows))
    (row,) = read(config)["train"]
    assert row["video"] == f"train/videos/{there if found else named}"
    assert ("media files are missing" in result.summary) is not found
    assert (f"'train/videos/{there}' is there" in result.summary) is not found


@pytest.mark.parametrize("length", [300, 5000])
def test_a_name_too_long_for_any_file_is_a_missing_file(
    config: Config, tmp_path: Path, length: int
) -> None:
    rows = [echoink(1, path=f"{'x' * length}.mp4"), echoink(2)]
    result = imports.run(config, "avqa-r1-6k", write_echoink(tmp_path / "r1", "train", rows))
    assert result.counts["train"] == 2
    assert "3 of 3 media files are missing" in result.summary


def test_rows_with_a_process_and_a_video_become_traces(config: Config, tmp_path: Path) -> None:
    row = echoink(1, process="<think>It drums.</think>", path="videos/x.mp4", data_type="video")
    imports.run(config, "avqa-r1-6k", write_echoink(tmp_path / "r1", "train", [row]))
    (found,) = read(config)["train"]
    assert found["av_reasoning"] == "<think>It drums.</think>\n<answer>B</answer>"
    assert (found["video"], found["image"]) == ("train/videos/x.mp4", None)


def test_imported_pictures_and_sounds_can_be_exported_with_their_media(
    config: Config, tmp_path: Path
) -> None:
    folder = write_echoink(tmp_path / "data", "train", [echoink(1, process="<think>x</think>")])
    for name in ("images", "audios"):
        (folder / "train" / name).mkdir()
    Image.fromarray(np.full((56, 56, 3), 90, np.uint8)).save(
        folder / "train" / "images" / "sample_1.jpg"
    )
    encode_clip(tmp_path / "x.mp4", n_frames=4, size=(56, 56), sound=tone(0.5, 300))
    (tmp_path / "x.mp4").rename(folder / "train" / "audios" / "sample_1.wav")
    assert "media files are missing" not in imports.run(config, "avqa-r1-6k", folder).summary
    result = exports.run(config, "video-r1", ExportOptions(with_media=True))
    assert result.counts["kept"] == 1


# Options


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (["A. dog", "B. cat"], ("dog", "cat")),
        (["(A) dog", "(B) cat"], ("dog", "cat")),
        (["A) dog", "B: cat"], ("dog", "cat")),
        ([" A.dog", "B.cat "], ("dog", "cat")),
        (["A. dog", "cat"], ("A. dog", "cat")),
        (["B. dog", "A. cat"], ("B. dog", "A. cat")),
        (["A dog", "B cat"], ("A dog", "B cat")),
        (["dog", "cat"], ("dog", "cat")),
    ],
)
def test_letters_are_taken_off_only_where_all_options_have_their_own(
    given: list[str], wanted: tuple[str, ...]
) -> None:
    assert options_of(given) == wanted
