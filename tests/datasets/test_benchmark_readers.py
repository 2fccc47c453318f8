"""Facts about the readers of published benchmarks; their rows are in tests/benchmark_sets.py."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from avrt.config import DataConfig
from avrt.datasets import FORMATS, annotation_path, read_items, read_samples
from avrt.errors import ConfigError, DataError
from avrt.types import LETTERS
from benchmark_sets import FILES, NESTED, SETS, rows_of, write_set

PUBLISHED = tuple(name for name in SETS if name not in ("avqa", "parquet", "webdataset"))
"""Sets whose readers yield items themselves."""
GOLD = {
    "omnibench": ["B", "C", "B"],
    "daily_omni": ["C", "A", "D"],
    "mmar": ["C", "B", "E"],
    "mmau": ["B", "H", "B"],
    "video_holmes": ["E", "F"],
    "worldsense": ["B", "B", "D"],
    "omnivideobench": ["C", "B", "A"],
    "video_mme": ["B", "D", "A"],
    "rivabench_standup": ["C", "E", "A"],
    "rivabench_academic": ["C", "E", "A"],
    "avhbench": ["B", "A", "A"],
    "avqa": ["B", "D"],
    "parquet": ["A", "C"],
    "webdataset": ["A", "C"],
}


def read(root, name, content=None):
    return list(read_items(write_set(root, name, content)))


def complaint(root, name, content):
    """What the reader objects to in this content; nothing when it does not."""
    try:
        read(root, name, content)
    except DataError as error:
        return str(error)
    return ""


def first_question(name, content):
    """The first question in a file's content, to be changed in place."""
    if name == "worldsense":
        return next(iter(content.values()))["task0"]
    return content[0]["questions"][0] if name in NESTED else content[0]


MALFORMED = [
    (
        "omnibench",
        {"answer": "The cook sings."},
        "expected a letter from A to D or the text of one of",
    ),
    ("omnibench", {"options": "A. x B. y"}, "options is a str, not a list"),
    ("omnibench", {"options": ["one"], "answer": "one"}, "1 options"),
    ("omnibench", {"options": [None, "x"], "answer": "x"}, "option None is not a text"),
    ("omnibench", {"image_path": "../../secret.png"}, "leaves the dataset's folder"),
    ("omnibench", {"index": None}, "index is None, neither a name nor a whole number"),
    ("daily_omni", {"Answer": "E"}, "'E'; expected a letter from A to D"),
    ("daily_omni", {"Answer": "AB"}, "'AB'; expected a letter"),
    ("daily_omni", {"Answer": 1}, "Answer is 1; expected a letter"),
    ("daily_omni", {"video_id": "../x"}, "leaves the dataset's folder"),
    ("mmar", {"answer": "Bassoon"}, "answer is 'Bassoon'; expected"),
    ("mmar", {"choices": [str(n) for n in range(9)], "answer": "1"}, "9 options"),
    ("mmar", {"audio_path": "/etc/passwd"}, "leaves the dataset's folder"),
    ("mmau", {"question": " "}, "question is ' ', not a text"),
    ("mmau", {"choices": {"A": "x"}}, "choices is a dict"),
    ("video_holmes", {"Answer": "G"}, "'G'; expected a letter from A to F"),
    ("video_holmes", {"Options": ["x", "y"]}, "Options is a list, not an object"),
    ("video_holmes", {"Options": {"B": "x", "A": "y"}}, "has the letters B, A"),
    ("worldsense", {"answer": ""}, "answer is ''; expected"),
    ("worldsense", {"candidates": None}, "candidates is a NoneType"),
    ("omnivideobench", {"correct_option": "Z"}, "'Z'; expected a letter"),
    ("omnivideobench", {"options": []}, "options has 0 options; need 2 to 8"),
    ("video_mme", {"answer": "E"}, "'E'; expected a letter from A to D"),
    ("video_mme", {"choices": "A. x B. y"}, "choices is a str, not a list"),
    ("rivabench_standup", {"conversations": "Why?"}, "not a question and its answer"),
    ("rivabench_standup", {"conversations": [{"value": "Why?"}] * 2}, "has no options behind"),
    (
        "rivabench_academic",
        {"conversations": [{"value": "Choose from:\nA. x"}, {"value": "A"}]},
        "has no question before",
    ),
    ("rivabench_academic", {"video": "../x.mp4"}, "leaves the dataset's folder"),
    ("avhbench", {"label": "Perhaps"}, "label is 'Perhaps'; expected"),
    ("avhbench", {"video_id": "a/../../b"}, "leaves the dataset's folder"),
]


@pytest.mark.parametrize(("name", "change", "complaint"), MALFORMED)
def test_a_malformed_row_is_named_with_its_file(tmp_path, name, change, complaint):
    content = rows_of(name)
    first_question(name, content).update(change)
    with pytest.raises(DataError) as caught:
        read(tmp_path, name, content)
    message = str(caught.value)
    assert complaint in message
    assert "row 1: " in message
    assert str(annotation_path(DataConfig(format=name, root=tmp_path))) in message


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_field_that_is_needed_is_named_when_it_is_missing(tmp_path, name):
    optional = {"audio content", "image content", "Explanation", "video_caption", "reasoning_steps"}
    needed = set()
    for field in first_question(name, rows_of(name)):
        content = rows_of(name)
        del first_question(name, content)[field]
        message = complaint(tmp_path, name, content)
        assert message == "" or f"row 1: the field {field!r} is missing" in message
        needed |= {field} if message else set()
    assert len(needed) >= (2 if "conversations" in needed else 3)  # question, options, answer
    assert not optional & needed


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("other", PUBLISHED)
def test_a_file_of_another_benchmark_is_refused_in_one_message(tmp_path, name, other):
    if name == other or (name.startswith("rivabench") and other.startswith("rivabench")):
        return  # the parts of RivaBench have one form
    data = write_set(tmp_path, other)
    wanted = tmp_path / FILES[name]
    wanted.parent.mkdir(exist_ok=True)
    annotation_path(data).rename(wanted)
    with pytest.raises(DataError) as caught:
        list(read_items(DataConfig(format=name, root=tmp_path)))
    assert str(wanted) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("content", [3, "text", [3], [None], {"a": 1}, [[]], {}])
def test_content_of_another_shape_is_refused_or_empty(tmp_path, name, content):
    if name in ("parquet", "webdataset"):
        return
    message = complaint(tmp_path, name, content)
    assert FILES[name] in message or not content


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_file_that_is_cut_off_is_refused(tmp_path, name):
    data = write_set(tmp_path, name)
    path = annotation_path(data)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(DataError, match="not valid JSON"):
        list(read_items(data))
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="save it as UTF-8"):
        list(read_items(data))


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_wrong_folder_is_refused_before_the_first_item(tmp_path, name):
    with pytest.raises(ConfigError, match=r"no such folder; set data\.root"):
        read_items(DataConfig(format=name, root=tmp_path / "absent"))
    (tmp_path / "notes.json").touch()
    with pytest.raises(ConfigError, match=r"no such file; the folder has notes\.json; set"):
        read_items(DataConfig(format=name, root=tmp_path))


def test_ids_that_occur_twice_name_both_rows(tmp_path):
    for name in ("omnibench", "mmar", "mmau", "video_holmes"):
        content = rows_of(name)
        content.append(content[0])
        with pytest.raises(DataError, match=f"rows 1 and {len(content)} have the same id"):
            read(tmp_path, name, content)


@pytest.mark.parametrize("name", SETS)
def test_gold_is_the_letter_of_an_option_without_letters(tmp_path, name):
    items = read(tmp_path, name)
    assert [item.sample.target for item in items] == GOLD[name]
    for item in items:
        options = item.sample.options
        assert not any(option[:2] in [f"{letter}." for letter in LETTERS] for option in options)
        assert len({*options}) == len(options)
    assert len({item.sample.id for item in items}) == len(items)


@pytest.mark.parametrize("name", SETS)
def test_samples_are_those_of_the_items_and_the_limit_holds(tmp_path, name):
    data = write_set(tmp_path, name)
    samples = [item.sample for item in read_items(data)]
    assert list(read_samples(data)) == samples
    limited = data.model_copy(update={"limit": 1})
    assert list(read_samples(limited)) == samples[:1]


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_row_is_kept_as_published(tmp_path, name):
    item = read(tmp_path, name)[0]
    assert first_question(name, rows_of(name)).items() <= dict(item.row).items()


def test_groups_are_as_published_with_case_and_spaces_made_alike(tmp_path):
    groups = [item.groups for item in read(tmp_path, "omnibench")]
    assert groups[0] == {"task_type": "action and activity", "audio_type": "speech"}
    assert groups[2] == {"task_type": "text and symbols", "audio_type": "sound event"}
    (first, _, third) = (item.groups for item in read(tmp_path, "omnivideobench"))
    assert (first["duration"], third["duration"]) == ("1 to 5 min", "over 10 min")
    (first, *_) = (item.groups for item in read(tmp_path, "worldsense"))
    assert first["audio_class"] == "Music + Speech"
    assert read(tmp_path, "mmar")[0].groups["language"] == "none"


def test_questions_without_an_id_are_counted_by_clip(tmp_path):
    ids = [item.sample.id for item in read(tmp_path, "daily_omni")]
    assert ids == ["daily_omni-clip-0_a1B2c-1", "daily_omni-clip-0_a1B2c-2", "daily_omni--x-1"]
    ids = [item.sample.id for item in read(tmp_path, "omnivideobench")]
    assert ids[:2] == ["omnivideobench-video_1-1", "omnivideobench-video_1-2"]
    ids = [item.sample.id for item in read(tmp_path, "worldsense")]
    assert ids == ["worldsense-aBcDeFgH-task0", "worldsense-iJkLmNoP-task0", ids[2]]
    ids = [item.sample.id for item in read(tmp_path, "avhbench")]
    assert ids == ["avhbench-00017-1", "avhbench-00017-2", "avhbench-00018-1"]
    ids = [item.sample.id for item in read(tmp_path, "rivabench_standup")]
    assert ids[:2] == ["rivabench_standup-clip_a-1", "rivabench_standup-clip_a-2"]


@pytest.mark.parametrize(
    ("name", "kind", "files"),
    [
        ("omnibench", "audio", ["mm_data/audio/9-000.mp4.mp3.mp3", "audio/9-000.mp4.mp3.mp3"]),
        ("omnibench", "image", ["mm_data/image/9-000.png", "image/9-000.png"]),
        ("daily_omni", "video", ["Videos/clip-0_a1B2c/clip-0_a1B2c_video.mp4"]),
        ("mmar", "audio", ["audio/first_00-01.wav", "first_00-01.wav"]),
        ("mmau", "audio", ["test-mini-audios/aa-1.wav", "aa-1.wav"]),
        ("video_holmes", "video", ["videos/film_01.mp4", "film_01.mp4"]),
        ("worldsense", "video", ["videos/aBcDeFgH.mp4", "aBcDeFgH.mp4"]),
        ("omnivideobench", "video", ["videos/video_1.mp4", "video_1.mp4"]),
        ("video_mme", "video", ["data/aBcDeFgHiJ0.mp4", "video/aBcDeFgHiJ0.mp4"]),
        ("rivabench_standup", "video", ["videos/clip_a.mp4", "clip_a.mp4"]),
        ("rivabench_academic", "audio", ["audios/clip_a.wav", "clip_a.wav"]),
        ("avhbench", "video", ["videos/00017.mp4", "video/00017.mp4", "00017.mp4"]),
    ],
)
def test_media_are_named_where_they_are_else_where_they_belong(tmp_path, name, kind, files):
    assert getattr(read(tmp_path, name)[0].sample, kind) == files[0]
    for file in reversed(files):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
        assert getattr(read(tmp_path, name)[0].sample, kind) == file


def test_a_clip_without_its_sound_file_has_its_own_sound(tmp_path):
    folder = tmp_path / "Videos" / "clip-0_a1B2c"
    sound = "Videos/clip-0_a1B2c/clip-0_a1B2c_audio.wav"
    assert read(tmp_path, "daily_omni")[0].sample.audio == sound
    folder.mkdir(parents=True)
    (folder / "clip-0_a1B2c_video.mp4").touch()
    sample = read(tmp_path, "daily_omni")[0].sample
    assert (sample.audio, sample.sound_path) == (None, sample.video)
    (folder / "clip-0_a1B2c_audio.wav").touch()
    assert read(tmp_path, "daily_omni")[0].sample.audio == sound


@pytest.mark.parametrize(
    "place", ["watch?app=desktop&v=ID&t=3", "embed/ID", "live/ID?x=1", "shorts/ID"]
)
def test_video_mmes_videos_have_the_name_in_their_address(tmp_path, place):
    videos = rows_of("video_mme")
    videos[0]["url"] = f"https://www.youtube.com/{place.replace('ID', 'zZ-yY_xX012')}"
    data = write_set(tmp_path, "video_mme", videos)
    assert next(iter(read_items(data))).sample.video == "data/zZ-yY_xX012.mp4"


def test_video_mmes_table_and_list_hold_the_same_questions(tmp_path):
    listed = read(tmp_path, "video_mme")
    rows = [
        {"videoID": item.sample.video_id, "options": item.row["choices"]} | dict(item.row)
        for item in listed
    ]
    (tmp_path / "videomme").mkdir()
    path = tmp_path / "videomme" / "test-00000-of-00001.parquet"
    pq.write_table(pa.Table.from_pylist(rows).drop_columns(["choices", "url"]), path)
    table = list(read_items(DataConfig(format="video_mme", root=tmp_path)))
    named = [replace(item.sample, source="") for item in listed]
    assert [replace(item.sample, source="") for item in table] == named
    assert [item.groups for item in table] == [item.groups for item in listed]
    assert table[2].groups["duration"] == "long"
    pq.write_table(pa.Table.from_pylist(rows).drop_columns(["options"]), path)
    with pytest.raises(DataError, match=r"parquet: .*options"):
        list(read_items(DataConfig(format="video_mme", root=tmp_path)))


def test_rivabenchs_prompts_are_cut_off_around_the_question(tmp_path):
    bare, dressed = read(tmp_path, "rivabench_academic")[1::-1]
    assert bare.sample.question == dressed.sample.question == "Whom does he mean by the landlord?"
    assert bare.sample.options == dressed.sample.options
    assert bare.sample.options[3:] == ("The bill, again.", "Choose nobody.")
    direct = rows_of("rivabench_academic")[1:2]
    turn = direct[0]["conversations"][0]
    turn["value"] = (
        "<image>Select the best answer to the following question based on the video. Respond with "
        f"only the letter of the correct option.\n{turn['value']}"
    )
    (item,) = read(tmp_path, "rivabench_academic", direct)
    assert replace(item.sample, id=bare.sample.id, source=bare.sample.source) == bare.sample


def test_rivabenchs_file_may_have_another_name(tmp_path):
    data = write_set(tmp_path, "rivabench_academic")
    annotation_path(data).rename(tmp_path / "academic_test.json")
    with pytest.raises(ConfigError, match=r"the folder has academic_test\.json; set data\.split"):
        read_items(data)
    named = data.model_copy(update={"split": "academic_test"})
    assert len(list(read_items(named))) == 3


def test_a_talk_without_its_sound_file_has_its_own_sound(tmp_path):
    assert read(tmp_path, "rivabench_standup")[0].sample.audio == "audios/clip_a.wav"
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "clip_a.mp4").touch()
    sample = read(tmp_path, "rivabench_standup")[0].sample
    assert (sample.audio, sample.sound_path) == (None, "videos/clip_a.mp4")


def test_captions_are_left_out_and_counted(tmp_path):
    counts = Counter()
    items = list(read_items(write_set(tmp_path, "avhbench"), counts))
    assert {item.sample.options for item in items} == {("Yes", "No")}
    assert counts == {"dropped/captions": 1}


def test_equal_options_are_kept_and_gold_is_the_first_of_them(tmp_path):
    content = rows_of("mmau")
    content[0]["choices"] = ["Surf", "A mill", "A mill", "Rain"]
    item = read(tmp_path, "mmau", content)[0]
    assert (item.sample.options.count("A mill"), item.sample.target) == (2, "B")


def test_mmar_is_read_as_a_list_under_the_name_that_its_readme_gives(tmp_path):
    items = read(tmp_path, "mmar")
    (tmp_path / "MMAR-meta.jsonl").unlink()
    (tmp_path / "MMAR-meta.json").write_text(json.dumps(rows_of("mmar")))
    listed = list(read_items(DataConfig(format="mmar", root=tmp_path)))
    assert [item.row for item in listed] == [item.row for item in items]


def test_annotations_that_cannot_be_fetched_are_asked_for_in_one_message(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    data = DataConfig(format="omnibench", root=tmp_path / "set", hub="m-a-p/OmniBench")
    with pytest.raises(ConfigError, match=r"data\.hub=m-a-p/OmniBench: .* copy them into"):
        read_items(data)
    nameless = data.model_copy(update={"hub": "not an id"})
    with pytest.raises(ConfigError, match="not the id of a dataset"):
        read_items(nameless)


def test_annotations_of_the_hub_come_into_the_root(tmp_path, monkeypatch):
    source = write_set(tmp_path / "hub", "omnibench")
    asked = []

    def download(repo, repo_type, local_dir, allow_patterns):
        asked.append((repo, repo_type, allow_patterns))
        if repo == "m-a-p/OmniBench":
            shutil.copytree(source.root, local_dir)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    root = tmp_path / "local"
    data = DataConfig(format="omnibench", root=root, hub="m-a-p/OmniBench")
    assert len(list(read_items(data))) == len(list(read_items(data))) == 3
    assert asked == [("m-a-p/OmniBench", "dataset", list(FORMATS["omnibench"].files))]
    other = DataConfig(format="mmar", root=root, hub="some/other")
    with pytest.raises(ConfigError, match=r"data\.hub=some/other: has none of MMAR-meta\.jsonl"):
        read_items(other)


def test_annotations_that_are_there_are_not_fetched(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    data = write_set(tmp_path, "mmar").model_copy(update={"hub": "BoJack/MMAR"})
    assert len(list(read_items(data))) == 3


@pytest.mark.parametrize(
    ("name", "file", "n"),
    [("daily_omni", "daily_omni_qa.json", 1197), ("mmar", "MMAR-meta.jsonl", 1000)],
)
def test_real_annotations_are_read_without_loss(tmp_path, real_data, name, file, n):
    annotations = real_data / "annotations" / file
    path = tmp_path / FORMATS[name].files[0]
    path.symlink_to(annotations)
    items = list(read_items(DataConfig(format=name, root=tmp_path)))
    text = annotations.read_text(encoding="utf-8")
    rows = json.loads(text) if name == "daily_omni" else list(map(json.loads, text.splitlines()))
    assert len(items) == len(rows) == n
    for item, row in zip(items, rows, strict=True):
        sample = item.sample
        published = row["Choice" if name == "daily_omni" else "choices"]
        marks = [f"{letter}." if name == "daily_omni" else "" for letter in LETTERS]
        assert item.row == row
        assert len(sample.options) == len(published)
        for mark, option, written in zip(marks, sample.options, published, strict=False):
            assert written.startswith(mark)
            assert option == written.removeprefix(mark).strip()
        gold = row["Answer"] if name == "daily_omni" else row["answer"].strip()
        assert gold in (sample.target, sample.target_text)
