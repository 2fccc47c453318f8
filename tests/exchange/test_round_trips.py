"""What AVRT writes it reads: a set that was exported and imported is the set."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from avrt.config import Config, load_config
from avrt.errors import DataError
from avrt.exchange import exports, imports
from avrt.exchange.exports.formats import ExportOptions
from avrt.generate import build, merge, trace
from avrt.generate.dataset import DATASET_SCHEMA, REJECTED_SCHEMA
from avrt.generate.gates import Case, check
from avrt.runs import read_parquet, write_parquet
from clips import encode_clip, tone
from scripted_run import MakeConfig, replies

PARTS = ("train", "validation", "rejected")
ODD = {
    "unicode": "Čo počuť? 何が聞こえますか \U0001f941 ü u\u0308",
    "lines": "first\nsecond\r\nthird\u2028fourth",
    "quotes": "\"double\" 'single' `back` \\ back\\slash, comma; \t tab",
    "markup": "<b>&amp;</b> {question} {{x}} %s $y [link](x) ---\n---",
    "long": "very " * 5000 + "long",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    videos = tmp_path / "data" / "videos"
    videos.mkdir(parents=True)
    for name in ("plain", "ünïcode clip's"):
        encode_clip(videos / f"{name}.mp4", n_frames=8, size=(56, 56), sound=tone(0.5, 440))
    Image.fromarray(np.full((56, 56, 3), 90, np.uint8)).save(tmp_path / "data" / "picture.png")
    return tmp_path


def make(root: Path, name: str, data: Path | None = None) -> Config:
    data = data or root / "data"
    settings = (f"run.dir={root / 'runs'}", f"run.name={name}", f"data.root={data}")
    return load_config(None, (*settings, "media.workers=0", "media.n_frames=2"))


def row(name: str, **changes: Any) -> dict[str, Any]:
    """A row of the dataset, with all columns that generation fills."""
    fields = {
        **dict.fromkeys(DATASET_SCHEMA.names),
        "id": name, "video_name": "plain", "video_id": f"clip of {name}", "question": "What?",
        "choices": ["bell", "drum"], "answer": 1, "answer_letter": "B", "answer_text": "drum",
        "question_relation": "both", "question_type": "Which",
        "av_reasoning": "<think>It drums.</think>\n<answer>B</answer>", "think": "It drums.",
        "vision_text": "A drum. Answer: (B)", "audio_text": "", "vision_correct": True,
        "audio_correct": False, "stratum": "vision_only",
        "teachers": [{"role": "vision", "modality": "v", "k": 1, "answered": 1, "right": 1}],
        "findings": [{"judge": "main", "finding": "leak", "quote": "“drum”"}],
        "video": "videos/plain.mp4", "source": "train_qa.json:1", "call_keys": ["k1", "k2"],
        **changes,
    }  # fmt: skip
    trace, options = fields["av_reasoning"], fields["choices"]
    flagged = trace and check(Case(trace, fields["question"], options, fields["answer_letter"]))
    return fields | {"gates": flagged}


def trace_of(thought: str) -> dict[str, str]:
    return {"av_reasoning": f"<think>{thought}</think>\n<answer>B</answer>", "think": thought}


def odd_parts() -> dict[str, list[dict[str, Any]]]:
    train = [
        row(f"odd/{name}", question=text, choices=[f"{text} 1", f"{text} 2"],
            answer_text=f"{text} 2", vision_text=text, **trace_of(f"So {name}."))
        for name, text in ODD.items()
    ]  # fmt: skip
    train += [
        row("no type", question_type=""),
        row("lettered", choices=["A. Smith", "C. Smith"], answer_text="C. Smith"),
        row("clip", video="videos/ünïcode clip's.mp4", video_name="ünïcode clip's"),
        row("picture", video=None, image="picture.png", audio="videos/plain.mp4"),
        row("number", choices=["2", "1"], answer_text="1"),
    ]
    rejected = {"stage": "merge", "reason": "dropped/not_both"}
    return {
        "train": train,
        "validation": [row("held out")],
        "rejected": [
            row("no trace", av_reasoning=None, think=None, findings=None) | rejected,
            row("lost", teachers=None, stratum=None, question="") | rejected,
        ],
    }


def write(config: Config, parts: dict[str, list[dict[str, Any]]]) -> Path:
    folder = config.run.path / "dataset"
    for name in PARTS:
        schema = REJECTED_SCHEMA if name == "rejected" else DATASET_SCHEMA
        write_parquet(folder / f"{name}.parquet", parts.get(name, []), schema)
    # A table about the dataset, as the stage `build` writes it beside the dataset.
    pq.write_table(pa.table({"id": ["x"], "score": [1.0]}), folder / "contamination.parquet")
    card = "---\nlicense: other\n---\n# Card\n\nModels: *Some Model*, with its terms.\n"
    (folder / "README.md").write_text(card)
    return folder


def rows_of(config: Config) -> dict[str, list[dict[str, Any]]]:
    return {name: read_parquet(config.run.path / "dataset" / f"{name}.parquet") for name in PARTS}


def export(config: Config, name: str, out: Path, **options: bool) -> Path:
    exports.run(config, name, ExportOptions(**options), out)
    return out


@pytest.mark.parametrize("way", ["dataset", "hf", "hf with media", "hf in many files", "pushed"])
def test_a_dataset_of_odd_texts_comes_back_with_all_columns_splits_and_losses(
    root: Path, way: str
) -> None:
    if way == "hf with media":
        pytest.importorskip("datasets.features")
    first, second = make(root, "first"), make(root, "second")
    folder = write(first, odd_parts())
    if way != "dataset":
        folder = export(first, "hf", root / "out", with_media=way == "hf with media")
    if way == "hf in many files":
        split_file(folder / "data" / "traces", "train")
    if way == "pushed":  # as `datasets` uploads it
        for path in sorted((folder / "data").glob("*/*.parquet")):
            path.rename(folder / "data" / f"{path.stem}-00000-of-00001.parquet")
        (folder / "data" / "answers-00000-of-00001.parquet").unlink(missing_ok=True)
    result = imports.run(second, "avrt-20k", folder)
    assert rows_of(second) == rows_of(first)
    assert result.counts["read"] == 13
    assert "media files are missing" not in result.summary
    assert "*Some Model*, with its terms." in (second.run.path / "dataset/README.md").read_text()


def split_file(folder: Path, name: str) -> None:
    """Cut a file into one per row, named as on the Hub."""
    table = pq.read_table(folder / f"{name}.parquet")
    (folder / f"{name}.parquet").unlink()
    for n in range(len(table)):
        part = folder / f"{name}-{n:05d}-of-{len(table):05d}.parquet"
        pq.write_table(table.slice(n, 1), part)


def test_a_built_dataset_comes_back_and_goes_out_again(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    config = make_config(replies({("MERGE", 2): "<think>x</think>", ("VISION", 3): None}))
    for stage in (trace, merge, build):
        stage.run(config)
    before = rows_of(config)
    assert all(before.values())
    places = {
        "dataset": config.run.path / "dataset",
        "hf": export(config, "hf", tmp_path / "hf"),
    }
    for name, folder in places.items():
        again = config.model_copy(
            update={"run": config.run.model_copy(update={"name": f"from-{name}"})}
        )
        imports.run(again, "avrt-20k", folder)
        assert rows_of(again) == before
        counts = exports.run(again, "hf", ExportOptions()).counts
        assert counts["kept"] == len(before["train"]) + len(before["validation"])


@pytest.mark.parametrize("split", ["train", "default"])
def test_an_export_is_read_from_the_hub_with_the_same_splits(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, split: str
) -> None:
    pytest.importorskip("torch")
    import avrt.engines.torchcompat  # noqa: F401

    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    first, second = make(root, "first"), make(root, "second")
    write(first, odd_parts())
    folder = export(first, "hf", root / "out", with_media=split == "train")
    imports.run(second, "avrt-20k", str(folder), from_hub=True)
    wanted = rows_of(first) | {"rejected": []}  # another configuration on the Hub
    assert rows_of(second) == wanted


def test_gates_of_today_read_the_traces_of_a_dataset_again(root: Path) -> None:
    first, second = make(root, "first"), make(root, "second")
    folder = write(first, {"train": [row("fine"), row("bad", av_reasoning="It is B.", think=None)]})
    imports.run(second, "avrt-20k", folder)
    parts = rows_of(second)
    assert [one["id"] for one in parts["train"]] == ["fine"]
    assert [(one["id"], one["reason"]) for one in parts["rejected"]] == [
        ("bad", "dropped/bad_format")
    ]
    assert parts["rejected"][0]["vision_text"] == row("")["vision_text"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"answer": 7}, "bad_sample"),
        ({"choices": ["one"]}, "bad_sample"),
        ({"question_relation": "smell"}, "bad_sample"),
        ({"video": "../x.mp4"}, "bad_sample"),
        ({"choices": ["drum", "drum"]}, "ambiguous_answer"),
        ({"id": "fine"}, "duplicate_id"),
    ],
)
def test_a_row_that_was_spoilt_is_rejected_by_name(
    root: Path, change: dict[str, Any], reason: str
) -> None:
    first, second = make(root, "first"), make(root, "second")
    folder = write(first, {"train": [row("fine"), row("spoilt") | change]})
    result = imports.run(second, "avrt-20k", folder)
    assert result.counts["kept"] == 1
    assert [one["reason"] for one in rows_of(second)["rejected"]] == [f"dropped/{reason}"]


def test_a_column_of_another_type_is_named(root: Path) -> None:
    first, second = make(root, "first"), make(root, "second")
    folder = write(first, {"train": [row("fine")]})
    table = pq.read_table(folder / "train.parquet")
    index = table.column_names.index("answer")
    table = table.set_column(index, "answer", pa.array(["drum"]))
    pq.write_table(table, folder / "train.parquet")
    with pytest.raises(DataError, match=r"train\.parquet: column answer: string is not int"):
        imports.run(second, "avrt-20k", folder)
    table = table.drop_columns(["answer", "video_name"])
    pq.write_table(table, folder / "train.parquet")
    shutil.rmtree(folder.parent / "manifests", ignore_errors=True)
    (folder / "contamination.parquet").unlink()
    (folder / "validation.parquet").unlink()
    (folder / "rejected.parquet").unlink()
    with pytest.raises(DataError, match="no column video_name, answer; it has id, video_id, quest"):
        imports.run(second, "avrt-20k", folder)


@pytest.mark.parametrize("with_media", [False, True])
def test_questions_traces_and_splits_come_back_through_video_r1(
    root: Path, with_media: bool
) -> None:
    first, second = make(root, "first"), make(root, "second")
    parts = odd_parts()
    stripped = row("malformed", av_reasoning="<think>x</think> so <answer>B</answer>", think=None)
    parts["train"].append(stripped)
    write(first, parts)
    folder = export(first, "video-r1", root / "out", with_media=with_media)
    second = second.model_copy(
        update={
            "data": second.data.model_copy(update={"root": folder if with_media else root / "data"})
        }
    )
    result = imports.run(second, "avqa-r1-6k", folder)
    assert "media files are missing" not in result.summary
    columns = ("question", "choices", "answer", "av_reasoning", "think")
    before, after = rows_of(first), rows_of(second)
    malformed = after["rejected"].pop()
    assert malformed["av_reasoning"] == stripped["av_reasoning"]
    before["train"].pop()
    for name in ("train", "validation"):
        for one, other in zip(before[name], after[name], strict=True):
            assert {key: one[key] for key in columns} == {key: other[key] for key in columns}
            files = ("video", "image", "audio")
            assert [one[kind] is None for kind in files] == [other[kind] is None for kind in files]
