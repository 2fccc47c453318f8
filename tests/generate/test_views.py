from __future__ import annotations

import pytest

from avrt.errors import ConfigError
from avrt.generate.views import VIEWS, ViewTable, condition_of


def matching(view, condition, rows):
    with ViewTable(rows) as table:
        return table.matching(view, condition)


def row(name, vision=None, audio=None, blind=0, k=4, **more):
    """A sample that each teacher answered rightly so many times of k; None: it was not asked."""
    columns = {"id": name, "question_type": "Which", "n_options": 4}
    for role, right in (("vision", vision), ("audio", audio), ("blind", blind)):
        columns |= {
            f"{role}_k": None if right is None else k,
            f"{role}_answered": None if right is None else k,
            f"{role}_right": right,
            f"{role}_first": None if right is None else int(right > 0),
        }
    return columns | more


ROWS = [
    row("both", 4, 3),
    row("guessable", 4, 4, blind=2),
    row("lucky", 1, 1),
    row("vision", 4, 0),
    row("none", 0, 0),
    row("mute", 4, None),
]


@pytest.mark.parametrize(
    ("view", "wanted"),
    [
        ("paper", {"both", "guessable", "lucky"}),
        ("agree", {"both", "guessable"}),
        ("either", {"both", "guessable", "lucky", "vision", "mute"}),
        ("av_hard", {"both", "lucky"}),
        ("unfiltered", {"both", "guessable", "lucky", "vision", "none"}),
        ("vision_right = 4 AND question_type = 'Which' AND audio_right < 4", {"both", "vision"}),
    ],
)
def test_a_view_holds_what_its_condition_says(view, wanted):
    assert matching(view, condition_of(view, {}), ROWS) == wanted


def test_an_own_view_goes_before_a_packaged_one():
    assert condition_of("paper", {"paper": "audio_first"}) == "audio_first"


@pytest.mark.parametrize(
    "condition",
    [
        "vison_first",  # a typo is no column
        'vision_first AND question_type = "Wich"',  # double quotes name columns in SQL
        "vision_first AND",
        "",
        "1); DROP TABLE samples; --",
        "id IN (SELECT load_extension('x'))",
        "(SELECT COUNT(*) FROM pragma_database_list)",
    ],
)
def test_what_is_no_condition_is_refused_with_the_columns(condition):
    with pytest.raises(ConfigError, match=r"view 'mine': .*columns .*vision_first"):
        matching("mine", condition, ROWS)


def test_a_view_of_a_teacher_that_was_never_asked_says_how_to_ask_it():
    rows = [{name: value for name, value in one.items() if "blind" not in name} for one in ROWS]
    with pytest.raises(ConfigError, match=r"blind_right.*`teachers`"):
        matching("av_hard", VIEWS["av_hard"], rows)


def test_no_rows_are_no_error():
    assert matching("paper", VIEWS["paper"], []) == set()
