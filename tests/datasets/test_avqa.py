from __future__ import annotations

from collections import Counter

import pytest

from avrt.datasets import read_avqa
from avrt.errors import DataError


def read(root, split="train", counts=None):
    return list(read_avqa(root, split, counts))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"answer": 4}, "answer is 4; expected an index from 0 to 3"),
        ({"answer": None}, "None"),
        ({"answer": 1.5}, "1.5"),
        ({"multi_choice": ["one"]}, "1 options"),
        ({"multi_choice": ["one", None]}, "option None"),
        ({"multi_choice": "abcd"}, "a str, not a list"),
        ({"question_relation": "Smell"}, "'smell' is not one of"),
        ({"question_text": " "}, "question_text"),
        ({"video_name": "../../etc/x"}, "folder separator"),
    ],
)
def test_a_malformed_row_is_named_with_its_file(write_avqa, change, complaint):
    with pytest.raises(DataError, match=r"train_qa\.json: row 2: .*") as caught:
        read(write_avqa({}, change))
    assert complaint in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_missing_field_is_named(tmp_path):
    (tmp_path / "train_qa.json").write_text('[{"id": 1, "multi_choice": ["x", "y"]}]')
    with pytest.raises(DataError, match=r"row 1: the field 'question_relation' is missing"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("[{", "not valid JSON"),
        ('{"a": 1}', "a dict, not a list"),
        ("[3]", "row 1"),
        ("[null]", "row 1"),
    ],
)
def test_a_file_of_another_shape_is_refused(tmp_path, content, complaint):
    (tmp_path / "train_qa.json").write_text(content)
    with pytest.raises(DataError, match=complaint):
        read(tmp_path)


def test_a_duplicate_id_names_both_rows(write_avqa):
    with pytest.raises(DataError, match="rows 1 and 3 have the same id 'avqa-train-1'"):
        read(write_avqa({}, {}, {"id": 1}))


def test_rows_without_options_are_dropped_and_counted(write_avqa):
    counts = Counter()
    samples = read(write_avqa({}, {"multi_choice": None}, {"multi_choice": []}, {}), counts=counts)
    assert [sample.id for sample in samples] == ["avqa-train-1", "avqa-train-4"]
    assert counts == {"dropped/no_options": 2}


def test_a_row_becomes_a_sample(write_avqa):
    (sample,) = read(write_avqa({}, split="val"), "val")
    assert sample.id == "avqa-val-1"
    assert sample.question == "What makes the sound?"
    assert (sample.answer_index, sample.target, sample.target_text) == (1, "B", "a cat")
    assert (sample.video_id, sample.source) == ("101", "val_qa.json:1")
    assert (sample.image, sample.audio) == (None, None)


@pytest.mark.parametrize(
    ("written", "wanted"),
    [("View", "visual"), ("visual", "visual"), ("SOUND", "sound"), ("both", "both")],
)
def test_relations_are_read_in_any_case(write_avqa, written, wanted):
    (sample,) = read(write_avqa({"question_relation": written}))
    assert sample.question_relation == wanted


def test_numbers_are_options_and_texts_are_answers(write_avqa):
    (sample,) = read(write_avqa({"multi_choice": [1, 2, "3", 4], "answer": "2"}))
    assert sample.options == ("1", "2", "3", "4")
    assert sample.target_text == "3"


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("-HG3Omg_89c_000030", "videos/-HG3Omg_89c_000030.mp4"),
        ("-HG3Omg_89c_000030", "-HG3Omg_89c_000030.mp4"),
        ("-HG3Omg_89c_000030", "videos/-HG3Omg_89c_30.mp4"),
        ("-HG3Omg_89c_30", "videos/-HG3Omg_89c_000030.mp4"),
        ("-HG3Omg_89c_30", "-HG3Omg_89c_000030.mp4"),
        ("clip", "clip.mp4"),
    ],
)
def test_media_are_found_wherever_mirrors_put_them(write_avqa, name, file):
    root = write_avqa({"video_name": name})
    (root / "videos").mkdir()
    (root / file).touch()
    (sample,) = read(root)
    assert sample.video == file


def test_the_videos_folder_and_the_name_as_written_come_first(write_avqa):
    root = write_avqa({"video_name": "x_000030"})
    (root / "videos").mkdir()
    for file in ("x_000030.mp4", "videos/x_30.mp4", "videos/x_000030.mp4"):
        (root / file).touch()
    assert read(root)[0].video == "videos/x_000030.mp4"


def test_an_absent_clip_is_named_where_it_belongs(write_avqa):
    assert read(write_avqa({"video_name": "gone_000001"}))[0].video == "videos/gone_000001.mp4"
