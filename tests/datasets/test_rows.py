"""Facts about rows that hold for every format: options, gold, ids, and what reads alike."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avrt.config import DataConfig
from avrt.datasets import read_items, read_samples
from avrt.datasets.rows import folded, options_and_gold, same_options, without_letters
from avrt.errors import DataError
from avrt.types import LETTERS
from benchmark_sets import NESTED, rows_of, write_set

PLAIN = ("train", "car", "bell", "phone")


def gold(options, answer, form="index"):
    return options_and_gold({"options": list(options), "answer": answer}, "options", "answer", form)


@pytest.mark.parametrize(
    "mark",
    [
        *("{}. ", "{}.", "({}) ", "({})", "{}) ", "{}: ", "[{}] ", " {} . ", "{}．"),
        *("（{}）", "{}、", "{} - ", "{} – ", "Option {}: ", "option {}. "),
        *("**{}.** ", "**({})**", "**Option {}:** "),
    ],
)
@pytest.mark.parametrize("case", [str.upper, str.lower])
def test_letters_in_front_go_when_every_option_has_its_own(mark, case):
    options = [
        mark.format(case(letter)) + text for letter, text in zip(LETTERS, PLAIN, strict=False)
    ]
    assert without_letters(options) == PLAIN


@pytest.mark.parametrize(
    "options",
    [
        ("A major", "B major", "C major"),
        ("B. B. King", "A. C. Jobim"),
        ("B. B. King", "Bo Diddley"),
        ("A. train", "car", "C. bell"),
        ("B. train", "A. car"),
        ("A", "B", "C", "D"),
        ("A.", "B.", "C."),
        ("Audio", "Both", "Clip"),
        ("a man", "b man"),
        ("A-flat", "B-flat"),
        ("A. x", "B. y", "D. z"),
        ("Option A", "Option B"),
        ("A -", "B -"),
        ("**A** note", "**B** note"),
    ],
)
def test_other_options_stay_as_they_are(options):
    assert without_letters(options) == options


@pytest.mark.parametrize(
    "answer",
    [
        1,
        1.0,
        "1",
        "1.0",
        " 1 ",
        "１",
        "B",
        "b",
        "B.",
        "(B)",
        "Ｂ",
        "car",
        " CAR ",
        "ｃａｒ",
        "B. car",
    ],
)
def test_gold_is_taken_as_index_letter_or_text(answer):
    assert gold(PLAIN, answer) == (PLAIN, 1)


@pytest.mark.parametrize("answer", ["B. car", "car", "B", 1])
def test_gold_is_found_among_options_with_letters(answer):
    lettered = [f"{letter}. {text}" for letter, text in zip(LETTERS, PLAIN, strict=False)]
    assert gold(lettered, answer) == (PLAIN, 1)


@pytest.mark.parametrize("form", ["letter", "text"])
@pytest.mark.parametrize("answer", ["B", "b", "car", "Car ", "B. car", "(B) car"])
def test_letters_and_texts_are_clear_in_every_format(form, answer):
    assert gold(PLAIN, answer, form)[1] == 1


@pytest.mark.parametrize(
    "answer",
    [
        *(4, -1, 1.5, float("inf"), None, True, [1], {"B": 1}),
        *("4", "-1", "E", "dog", "", " ", "B. bell", "9" * 5000, "AB", "A or B", "None"),
    ],
)
@pytest.mark.parametrize("form", ["index", "letter", "text"])
def test_gold_that_names_no_option_is_refused_in_short_plain_words(answer, form):
    with pytest.raises(ValueError, match=r"^answer is ") as error:
        gold(PLAIN, answer, form)
    assert len(str(error.value)) < 400
    assert "literal" not in str(error.value)


@pytest.mark.parametrize("form", ["letter", "text"])
@pytest.mark.parametrize("answer", [0, 1, 1.0, "1"])
def test_a_number_is_no_index_where_it_may_count_from_one(answer, form):
    with pytest.raises(ValueError, match="; expected a letter from A to D"):
        gold(PLAIN, answer, form)


def test_the_way_of_the_format_comes_first():
    assert gold(("1", "2", "3", "4"), "2", "index")[1] == 2
    assert gold(("1", "2", "3", "4"), 2, "text")[1] == 1
    assert gold(("1", "2", "3", "4"), 2.0, "text")[1] == 1
    assert gold(("2", "4", "6", "8"), "8", "index")[1] == 3
    assert gold(("B", "A", "AB", "O"), "A", "text")[1] == 1
    assert gold(("B", "A", "AB", "O"), "A", "letter")[1] == 0


@pytest.mark.parametrize("form", ["index", "letter", "text"])
@pytest.mark.parametrize("answer", ["A", "b", "(C)"])
@pytest.mark.parametrize("letters", ["CAB", "BCD", "AAB"])
def test_a_letter_is_refused_where_options_have_letters_of_their_own(form, answer, letters):
    options = tuple(f"{a}. {b}" for a, b in zip(letters, PLAIN, strict=False))
    with pytest.raises(ValueError, match="the options have other letters than A, B"):
        gold(options, answer, form)
    assert gold(options, options[1], form) == (options, 1)


def test_an_answer_with_two_meanings_is_refused():
    with pytest.raises(ValueError, match="the letter of one option and the text of another"):
        gold(("B", "A", "AB", "O"), "A")
    with pytest.raises(ValueError, match="answer is 4; expected an index"):
        gold(("2", "4", "6", "8"), 4)  # counted from 1, or the text


@pytest.mark.parametrize(
    ("options", "same"),
    [
        (("drum", "train", "clock", "drum"), {0, 3}),
        (("drum", "Drum ", "clock"), {0, 1}),
        (("a  drum", "x", "a drum"), {0, 2}),
        (("ｄｒｕｍ", "x", "drum"), {0, 2}),
        (("ﬁre", "fire"), {0, 1}),
        (("é", "e\u0301"), {0, 1}),
        (("-5", "5"), set()),
        (("A", "A#"), set()),
    ],
)
def test_options_that_read_alike_are_found(options, same):
    assert same_options(options) == same


@given(st.text())
def test_folding_twice_changes_nothing(text):
    assert folded(folded(text)) == folded(text)


FIELDS = {
    "omnibench": ("options", "answer"),
    "daily_omni": ("Choice", "Answer"),
    "mmar": ("choices", "answer"),
    "mmau": ("choices", "answer"),
    "worldsense": ("candidates", "answer"),
    "omnivideobench": ("options", "correct_option"),
    "video_mme": ("choices", "answer"),
    "avqa": ("multi_choice", "answer"),
}


def write(root, name, options, answer):
    content = rows_of(name)
    row = content[0] if isinstance(content, list) else next(iter(content.values()))["task0"]
    row = row["questions"][0] if name in NESTED else row
    values = options if isinstance(options, str) else list(options)
    row.update(zip(FIELDS[name], (values, answer), strict=True))
    return write_set(root, name, content)


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("answer", ["B", "car", "B. car", "CAR"])
@pytest.mark.parametrize("mark", ["", "{}. ", "({}) ", "{}) ", "{}:"])
def test_every_reader_treats_options_and_gold_alike(tmp_path, name, answer, mark):
    options = [mark.format(letter) + text for letter, text in zip(LETTERS, PLAIN, strict=False)]
    sample = next(read_items(write(tmp_path, name, options, answer))).sample
    assert (sample.options, sample.target_text) == (PLAIN, "car")


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["train"], "has 1 options; need 2 to 8"),
        ([f"thing {n}" for n in range(9)], "has 9 options; need 2 to 8"),
        (["train", None], "option None is not a text"),
        (["train", True], "option True is not a text"),
        (["train", ["car"]], "is not a text"),
        ("train car", "is a str, not a list"),
        (["x" * 100_000, "y"], "is 'car'; expected"),
    ],
)
def test_every_reader_refuses_impossible_options_with_row_and_field(
    tmp_path, name, options, complaint
):
    with pytest.raises(DataError, match="row 1: ") as error:
        list(read_items(write(tmp_path, name, options, "car")))
    assert complaint.lower() in str(error.value).lower()
    assert len(str(error.value)) < 800


def test_numbers_that_tables_made_floats_are_ids(write_avqa):
    root = write_avqa({"id": 7.0, "video_id": 3.0, "video_name": 12})
    (sample,) = read_samples(DataConfig(root=root))
    assert (sample.id, sample.video_id, sample.video) == ("avqa-train-7", "3", "videos/12.mp4")


@pytest.mark.parametrize("value", [None, True, 1.5, "", " ", [1], {}])
@pytest.mark.parametrize("field", ["id", "video_id", "video_name"])
def test_what_is_no_name_is_refused(write_avqa, field, value):
    with pytest.raises(DataError, match=f"row 2: {field} is "):
        list(read_samples(DataConfig(root=write_avqa({}, {field: value}))))


def test_ids_that_read_alike_are_doubles(write_avqa):
    with pytest.raises(DataError, match="rows 1 and 2 have the same id"):
        list(read_samples(DataConfig(root=write_avqa({"id": 1}, {"id": "1 "}))))
