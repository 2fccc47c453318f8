"""Every reader takes a hostile text file whole, or refuses it in one short message; all alike."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from avrt.config import DataConfig, load_config
from avrt.datasets import SAMPLE_SCHEMA, read_items, sample_to_row
from avrt.engines.scripted import read_script
from avrt.errors import AvrtError
from avrt.evaluate.predictions import read_predictions
from avrt.exchange.imports import SOURCES
from avrt.prompts import load_prompt
from avrt.runs import read_parquet, write_parquet
from avrt.train.launch import deepspeed_settings
from avrt.types import Prompt, Sample
from benchmark_sets import FILES, NESTED, rows_of
from hostile.text_cases import DAMAGES, TOKENS, YAML_VALUES, Damage, Token

Read = Callable[[Path], list[Any]]


@dataclass(frozen=True)
class Kind:
    """A text file that AVRT reads; the sound one has an é, and `TOKEN` where it is JSON."""

    name: str
    file: str
    text: str
    read: Read
    n_records: int


def annotations(name: str) -> Kind:
    content = rows_of(name)
    first = next(iter(content.values())) if isinstance(content, dict) else content[0]
    question = first["questions"][0] if name in NESTED else first.get("task0", first)
    asked = question["conversations"][0] if "conversations" in question else question
    texts = ("question", "question_text", "text", "value")
    field = next(field for field in asked if field.lower() in texts)
    asked[field] = f"é {asked[field]}"
    question["note"] = "TOKEN"
    as_lines = FILES[name].endswith(".jsonl")
    lines = map(dump, content) if as_lines else [dump(content).replace("}, {", "},\n{")]

    def read(root: Path) -> list[Any]:
        data = DataConfig.model_validate({"format": name, "root": root, "split": "val"})
        return [[item.sample.question, item.row] for item in read_items(data)]

    return Kind(name, FILES[name], "\n".join(lines) + "\n", read, len(rows_of_items(name)))


def rows_of_items(name: str) -> list[Any]:
    content = rows_of(name)
    if name in NESTED:
        return [question for video in content for question in video["questions"]]
    if name == "worldsense":
        return [task for video in content.values() for task in video if task.startswith("task")]
    return [row for row in content if row.get("task") != "AV Captioning"]


def dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def lines_of(*rows: Any) -> str:
    return "".join(f"{dump(row)}\n" for row in rows)


def read_reply(root: Path) -> list[Any]:
    engine, replies = read_script(root / "script.jsonl", "m"), []
    for text in ("one", "two"):
        engine.generate([ask(text)], lambda _, completion: replies.append(completion))
    return [reply.text for reply in replies if reply.finish_reason == "stop"]


def ask(text: str) -> Any:
    from avrt.types import Request, Sampling

    return Request(text, Prompt(text), Sampling())


def read_replies(path: Path) -> list[Any]:
    return [(reply.id, reply.text) for reply in read_predictions(path)]


def read_prompt(root: Path) -> list[Any]:
    template = load_prompt(str(root / "prompt.txt"))
    return [template.fill(question="q")]


R1 = {
    "problem_type": "multiple choice",
    "problem": "Which é?",
    "options": ["A. x", "B. y"],
    "solution": "<answer>A</answer>",
    "path": "v.mp4",
}
KINDS = [
    *map(annotations, [name for name in FILES if name not in ("parquet", "webdataset")]),
    Kind(
        "import",
        "omni_rl_format_train.json",
        dump([R1 | {"process": "TOKEN"}, R1]).replace("}, {", "},\n{"),
        lambda root: [row.values for row in SOURCES["avqa-r1-6k"].read(root)],
        2,
    ),
    Kind(
        "script",
        "script.jsonl",
        lines_of({"match": "one", "reply": "TOKEN"}, {"match": "two", "reply": "é"}),
        read_reply,
        2,
    ),
    Kind(
        "deepspeed",
        "zero.json",
        dump({"é": 1, "x": "TOKEN", "zero_optimization": {"stage": 2}}),
        lambda root: [deepspeed_settings(str(root / "zero.json"))],
        1,
    ),
    Kind(
        "predictions",
        "replies.jsonl",
        lines_of({"id": "é", "text": "A", "more": "TOKEN"}, {"id": 2, "text": "B"}),
        lambda root: read_replies(root / "replies.jsonl"),
        2,
    ),
]
TEXTS = [
    *KINDS,
    Kind("table", "replies.csv", 'id,text\n1,"é, A"\n2,B\n',
         lambda root: read_replies(root / "replies.csv"), 2),
    Kind("prompt", "prompt.txt", "[system]\nBe brief.\n[user]\n{question} é\n", read_prompt, 1),
    Kind("configuration", "run.yaml", "run: {name: t}\ndata: {root: é}\n",
         lambda root: [load_config(root / "run.yaml").model_dump(mode="json")], 1),
]  # fmt: skip


def outcome(read: Read, root: Path) -> tuple[str, Any]:
    """`taken` with the records, or `refused` with the message; whatever else fails the test."""
    try:
        return "taken", read(root)
    except AvrtError as error:
        message = str(error)
    assert len(message) < 1500
    assert len(message.splitlines()) <= 6
    assert all(line.isprintable() for line in message.splitlines())
    return "refused", message


def write(root: Path, kind: Kind, data: bytes) -> None:
    (root / kind.file).parent.mkdir(exist_ok=True)
    (root / kind.file).write_bytes(data)


def check_taken(records: list[Any], n_records: int) -> None:
    assert len(records) == n_records
    text = json.dumps(records, ensure_ascii=False, default=str)
    text.encode()
    assert "\0" not in text


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.name)
@pytest.mark.parametrize("kind", TEXTS, ids=lambda kind: kind.name)
def test_other_bytes_are_treated_alike_by_every_reader(tmp_path, kind: Kind, damage: Damage):
    write(tmp_path, kind, damage.change(kind.text))
    found, value = outcome(kind.read, tmp_path)
    assert damage.outcome in (found, "either"), value
    if found == "refused":
        assert Path(kind.file).name in value
    elif damage.outcome == "taken":
        check_taken(value, kind.n_records)


@pytest.mark.parametrize("token", TOKENS, ids=lambda token: token.name)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_json_is_treated_alike_by_every_reader(tmp_path, kind: Kind, token: Token):
    assert kind.text.count('"TOKEN"') == 1
    write(tmp_path, kind, kind.text.replace('"TOKEN"', token.json).encode())
    found, value = outcome(kind.read, tmp_path)
    assert token.outcome == found, value
    if found == "taken":
        check_taken(value, kind.n_records)
    else:
        assert Path(kind.file).name in value
        places = ("row ", "line ", "column ", "field", "note", "x: ", "x,")
        assert any(place in value for place in places), value


@pytest.mark.parametrize("place", ["absent", "a folder", "a long name", "a link to itself"])
@pytest.mark.parametrize("kind", TEXTS, ids=lambda kind: kind.name)
def test_what_is_no_file_is_refused(tmp_path, kind: Kind, place: str):
    path = tmp_path / kind.file
    path.parent.mkdir(exist_ok=True)
    if place == "a long name" and kind.name == "import":
        return  # its command looks for the folder before
    if place == "a folder":
        path.mkdir()
    elif place == "a link to itself":
        path.symlink_to(path)
    elif place == "a long name":
        tmp_path = tmp_path / ("x" * 5000)
    found, value = outcome(kind.read, tmp_path)
    assert found == "refused", value


@pytest.mark.parametrize("value", YAML_VALUES.values(), ids=list(YAML_VALUES))
@pytest.mark.parametrize("setting", ["run.name", "data.root", "teachers.vision.prompt"])
@pytest.mark.parametrize("way", ["file", "override"])
def test_settings_are_valid_or_refused_by_name(tmp_path, setting, value, way):
    def read(root: Path) -> list[Any]:
        if way == "override":
            return [load_config(None, (f"{setting}={value}",)).model_dump(mode="json")]
        *sections, name = setting.split(".")
        lines = [f"{'  ' * depth}{section}:" for depth, section in enumerate(sections)]
        text = "\n".join([*lines, f"{'  ' * len(sections)}{name}: {value}", ""])
        (root / "run.yaml").write_text(text, encoding="utf-8")
        return [load_config(root / "run.yaml").model_dump(mode="json")]

    found, result = outcome(read, tmp_path)
    if found == "taken":
        check_taken(result, 1)
    else:
        assert "run.yaml" in result or "override" in result or "command line" in result


PROMPTS = [
    "{question} {qestion}", "{question} é", "[user]\n", "[system]\nx", "[user]\nx\n[system]\ny",
    "x\n[user]\ny", "[user]\n{question}\n[user]\n{question}", "{" * 5000, "{question}" * 5000,
    "{" + "a" * 5000 + "}", "{question", "{}", "{0}", "{{question}}", "{question!r:>5000}",
    "%s %(x)d", "\x1b[31m{question}", "\u202e{question}", "x" * 1_000_000, "[user]\r{question}",
]  # fmt: skip


@pytest.mark.parametrize("text", PROMPTS, ids=range(len(PROMPTS)))
def test_prompts_are_filled_or_refused(tmp_path, text):
    (tmp_path / "prompt.txt").write_text(text, encoding="utf-8")
    found, value = outcome(read_prompt, tmp_path)
    if found == "taken":
        check_taken(value, 1)


def own(**changes: Any) -> dict[str, Any]:
    sample = Sample("1", "é?", ("a", "b"), 0, "x", "both", "c", "v.mp4", None, None, "s")
    return sample_to_row(sample) | changes


def raw(column: str, data: bytes, *, second: bool = True) -> pa.Table:
    """A table whose text in a column, of its second row, is these bytes."""
    rows = [own(), own(id="2")] if second else [own()]
    table = pa.Table.from_pylist(rows, SAMPLE_SCHEMA)
    place = table.schema.get_field_index(column)
    values = [str(row[column] or "").encode() for row in rows[:-1]] + [data]
    texts: pa.Array = pa.array(values, pa.binary()).view(pa.string())
    if column == "options":
        texts = pa.array([b"a", b"b", b"a", data], pa.binary()).view(pa.string())
        texts = pa.ListArray.from_arrays(pa.array([0, 2, 4], pa.int32()), texts)
    return table.set_column(place, pa.field(column, texts.type), texts)


def tables() -> Iterator[tuple[str, pa.Table, str]]:
    wrong = {"latin-1": b"caf\xe9", "half a pair": b"\xed\xa0\xbd", "0xff": b"\xff"}
    for column in ("id", "question", "options", "question_type", "video_id", "video", "source"):
        for name, data in wrong.items():
            yield f"{name} in {column}", raw(column, data), "refused"
    for column in ("question", "options", "question_type", "source"):
        for data in (b"a\0b", b"\x1b[31m", "\u202e犬".encode()):
            yield f"{data!r} in {column}", raw(column, data), "taken"
    types = {
        "a float": ([0.0, 1.0], pa.float64(), "taken"),
        "no whole number": ([0.5, 1.0], pa.float64(), "refused"),
        "NaN": ([0.0, float("nan")], pa.float64(), "refused"),
        "a text": (["0", "B"], pa.string(), "taken"),
        "null": ([0, None], pa.int32(), "refused"),
        "too large": ([0, 2**60], pa.int64(), "refused"),
        "negative": ([0, -1], pa.int32(), "refused"),
        "a truth": ([True, False], pa.bool_(), "refused"),
    }
    plain = pa.Table.from_pylist([own(), own(id="2")], SAMPLE_SCHEMA)
    place = plain.schema.get_field_index("answer_index")
    for name, (values, kind, wanted) in types.items():
        column = pa.array(values, kind)
        yield f"answer: {name}", plain.set_column(place, "answer_index", column), wanted
    place = plain.schema.get_field_index("options")
    lists = {
        "null": ([["a", "b"], None], pa.list_(pa.string()), "refused"),
        "a null in it": ([["a", "b"], ["a", None]], pa.list_(pa.string()), "refused"),
        "none": ([["a", "b"], []], pa.list_(pa.string()), "refused"),
        "nine": ([["a", "b"], list("abcdefghi")], pa.list_(pa.string()), "refused"),
        "numbers": ([[1, 2], [3, 4]], pa.list_(pa.int64()), "taken"),
        "large": ([["a", "b"], ["c", "d"]], pa.large_list(pa.large_string()), "taken"),
        "texts": (["a, b", "c, d"], pa.string(), "refused"),
    }
    for name, (values, kind, wanted) in lists.items():
        yield f"options: {name}", plain.set_column(place, "options", pa.array(values, kind)), wanted
    for column in ("question", "id", "question_type", "question_relation", "video_id"):
        place = plain.schema.get_field_index(column)
        yield f"{column}: null", plain.set_column(place, column, pa.nulls(2)), "refused"
    yield "without a column", plain.drop_columns(["options"]), "refused"
    yield "twice the same id", pa.concat_tables([plain, plain]), "refused"
    place = plain.schema.get_field_index("question")
    words = pa.array(["x", "y"]).dictionary_encode()
    yield "a dictionary", plain.set_column(place, "question", words), "taken"


TABLES = list(tables())


def read_table(root: Path) -> list[Any]:
    data = DataConfig.model_validate({"format": "parquet", "root": root})
    return [item.sample for item in read_items(data)]


@pytest.mark.parametrize(("table", "wanted"), [case[1:] for case in TABLES],
                         ids=[case[0] for case in TABLES])  # fmt: skip
def test_parquet_is_taken_or_refused_with_file_and_row(tmp_path, table, wanted):
    pq.write_table(table, tmp_path / "train.parquet")
    found, value = outcome(read_table, tmp_path)
    assert found == wanted, value
    if found == "taken":
        check_taken(value, 2)
    else:
        assert "train.parquet: " in value
        assert "row" in value or "no column" in value


PUBLISHED = {
    "id": "1", "video_name": "v", "video_id": "1", "question": "é?", "answer": "0",
    "question_relation": "Both", "question_type": "Which", "av_reasoning": "<think>x</think>",
}  # fmt: skip


@pytest.mark.parametrize("column", PUBLISHED)
@pytest.mark.parametrize(
    ("data", "wanted"),
    [(b"caf\xe9", "refused"), (b"\xed\xa0\xbd", "refused"), (b"\x1b[31m", "taken")],
)
def test_published_sets_are_taken_or_refused_with_their_file(tmp_path, column, data, wanted):
    values = {name: text.encode() for name, text in PUBLISHED.items()} | {column: data}
    columns: dict[str, pa.Array] = {
        name: pa.array([value], pa.binary()).view(pa.string()) for name, value in values.items()
    }
    columns["choices"] = pa.array([["a", "b"]])
    pq.write_table(pa.table(columns), tmp_path / "train.parquet")
    found, value = outcome(lambda root: list(SOURCES["avrt-20k"].read(root)), tmp_path)
    assert found == wanted, value
    assert found == "taken" or "train.parquet" in value


@pytest.mark.parametrize("share", range(40))
@pytest.mark.parametrize("read", [read_table, lambda root: read_parquet(root / "train.parquet")])
def test_parquet_with_damaged_bytes_ends_in_no_traceback(tmp_path, read, share):
    path = tmp_path / "train.parquet"
    write_parquet(path, [own(id=str(n)) for n in range(50)], SAMPLE_SCHEMA)
    data = bytearray(path.read_bytes())
    place = len(data) * share // 40
    data[place : place + 8] = bytes(255 - byte for byte in data[place : place + 8])
    path.write_bytes(data)
    outcome(read, tmp_path)


@pytest.mark.parametrize("n_bytes", [0, 4, 12, 100, 500, -20, -8, -1])
def test_parquet_that_is_cut_off_is_refused(tmp_path, n_bytes):
    path = tmp_path / "train.parquet"
    pq.write_table(pa.Table.from_pylist([own()], SAMPLE_SCHEMA), path)
    path.write_bytes(path.read_bytes()[:n_bytes])
    found, value = outcome(read_table, tmp_path)
    assert found == "refused", value
