from __future__ import annotations

import pytest

from avrt.errors import ConfigError
from avrt.prompts import FIELDS, format_options, load_prompt

ALL_FIELDS = {name: f"<{name}>" for name in FIELDS}
TEACHER_FIELDS = {name: ALL_FIELDS[name] for name in ("question", "options", "n_frames")}


def write(tmp_path, text: str) -> str:
    path = tmp_path / "prompt.txt"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_a_name_that_is_neither_packaged_nor_a_file_is_refused_with_the_packaged_names():
    with pytest.raises(ConfigError, match=r"'visoin'.*audio, .*merge, .*student, vision"):
        load_prompt("visoin")


def test_a_folder_is_not_a_prompt(tmp_path):
    with pytest.raises(ConfigError, match="neither"):
        load_prompt(str(tmp_path))


def test_an_unknown_placeholder_is_refused_with_file_and_placeholder(tmp_path):
    path = write(tmp_path, "Tell me about {qestion}.")
    with pytest.raises(ConfigError, match=r"prompt\.txt: unknown placeholder \{qestion\}"):
        load_prompt(path)


def test_a_placeholder_without_a_value_in_this_stage_is_refused_with_file_and_placeholder(tmp_path):
    template = load_prompt(write(tmp_path, "{question} {answer}"))
    with pytest.raises(ConfigError, match=r"prompt\.txt: no value for placeholder \{answer\}"):
        template.fill(question="Why?")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hello\n[user]\nhi", "before the first section"),
        ("[user]\nhi\n[system]\nyou", "sections"),
        ("[system]\nyou", "sections"),
        ("[user]\na\n[user]\nb", "sections"),
        ("[system]\nyou\n[user]\n \n", "empty"),
        ("", "empty"),
    ],
)
def test_a_badly_divided_file_is_refused(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        load_prompt(write(tmp_path, text))


def test_a_file_without_sections_is_the_user_text(tmp_path):
    assert load_prompt(write(tmp_path, "\nWhat is {question}?\n")).fill(question="this") == (
        None,
        "What is this?",
    )


def test_braces_in_values_and_foreign_braces_in_prompts_stay_as_they_are(tmp_path):
    template = load_prompt(write(tmp_path, '{"json": {question}} {} {0} {X}'))
    _, user = template.fill(question="{options} {{x}} \\1")
    assert user == '{"json": {options} {{x}} \\1} {} {0} {X}'


def test_the_digest_follows_the_content_not_the_place(tmp_path):
    one = load_prompt(write(tmp_path, "[user]\n{question}\n"))
    (tmp_path / "other").mkdir()
    assert load_prompt(write(tmp_path / "other", "[user]\n{question}")).digest == one.digest
    assert load_prompt(write(tmp_path, "[system]\n\n[user]\n{question}")).digest != one.digest
    assert load_prompt(write(tmp_path, "{question}!")).digest != one.digest


@pytest.mark.parametrize("name", ["vision", "audio"])
def test_teacher_prompts_ask_for_three_labelled_parts_and_end_with_the_question(name):
    system, user = load_prompt(name).fill(**TEACHER_FIELDS)
    label = {"vision": "Visual Description:", "audio": "Audio Description:"}[name]
    assert user.index(label) < user.index("Reasoning:") < user.index("Answer: (X) option text")
    assert f"{name} agent" in str(system)
    assert user.endswith("<options>")


def test_no_teacher_prompt_can_show_the_answer():
    for name in ("vision", "audio", "audiovisual", "blind", "student"):
        template = load_prompt(name)
        assert "{answer}" not in template.user
        assert "analysis}" not in template.user


def test_the_merge_prompt_shows_question_answer_and_both_analyses():
    _, user = load_prompt("merge").fill(**ALL_FIELDS)
    for name in ("question", "options", "answer", "audio_analysis", "visual_analysis"):
        assert f"<{name}>" in user


def test_the_merge_prompt_for_any_teachers_shows_question_answer_and_all_analyses():
    template = load_prompt("merge_analyses")
    _, user = template.fill(**ALL_FIELDS)
    for name in ("question", "options", "answer", "analyses"):
        assert f"<{name}>" in user
    assert not template.uses("audio_analysis")
    assert user.index("<think>") < user.index("</think>") < user.index("<answer>the letter")


def test_the_audiovisual_prompt_asks_for_both_descriptions_and_ends_with_the_question():
    _, user = load_prompt("audiovisual").fill(**TEACHER_FIELDS)
    labels = ("Visual Description:", "Audio Description:", "Reasoning:", "Answer: (X) option text")
    places = [user.index(label) for label in labels]
    assert places == sorted(places)
    assert user.endswith("<options>")


def test_the_blind_prompt_needs_nothing_of_the_clip():
    template = load_prompt("blind")
    _, user = template.fill(question="Q?", options="(A) x\n(B) y")
    assert user.endswith("Question: Q?\nOptions:\n(A) x\n(B) y")
    assert "Answer: (X) option text" in user
    assert not template.uses("n_frames")


def test_the_student_prompt_asks_for_the_form_that_the_parser_reads():
    _, user = load_prompt("student").fill(question="Q?", options="(A) x\n(B) y")
    assert user.index("<think>") < user.index("</think>") < user.index("<answer>")


def test_options_get_letters_in_order():
    assert format_options(["dog", "cat", "(C) odd"]) == "(A) dog\n(B) cat\n(C) (C) odd"
