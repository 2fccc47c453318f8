"""Facts about the answer parser."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avrt.answers import PARSER_VERSION, extract_answer, is_well_formed, split_trace
from avrt.runs import fingerprint
from avrt.types import LETTERS

OPTIONS = ("dog", "cat", "A man is talking", "D minor")

ANSWERED = {
    "<think>It barks.</think><answer>A</answer>": "A",
    "<think>First <answer>A</answer>?</think><answer>B</answer>": "B",
    "<think>x</think><answer>A</answer> no: <answer> B </answer>": "B",
    "<think>x</think>\n<answer>(B)</answer>": "B",
    "<answer>B. cat</answer>": "B",
    "<answer>B cat</answer>": "B",
    "<answer>b</answer>": "B",
    "<answer>a man is talking.</answer>": "C",
    "<ANSWER>D</ANSWER>": "D",
    "prefilled thought</think>The answer is B": "B",
    "◁think▷Perhaps Answer: (A) dog◁/think▷Answer: (B) cat": "B",
    "Answer: (B) cat": "B",
    "Answer: (A) dog\nLet me think again.\nAnswer: (B) cat": "B",
    "Answer:\n(B) cat": "B",
    "**Answer:** **(B)** cat": "B",
    "Final answer: B": "B",
    "Answer: b) cat": "B",
    "Answer: Option B": "B",
    "Answer: B - cat": "B",
    "Answer: B (cat)": "B",
    "Answer: cat": "B",
    "Answer: D minor": "D",
    "Answer: A man is talking": "C",
    "Answer: (B) cat. (A) and (D) are out.": "B",
    "Answer: B, because A is silent.": "B",
    "Option (A) barks, (C) talks. The correct answer is B.": "B",
    "The answer is B because it purrs.": "B",
    "The answer is clear from the sound. The answer is (B).": "B",
    "The answer is cat.": "B",
    "(B)": "B",
    "B.": "B",
    "B) cat": "B",
    "B. cat": "B",
    "B": "B",
    "I go with (B) here.": "B",
    "It must be option B.": "B",
    "It is not (A), it is (B).": "B",
    "It purrs, so\ncat": "B",
    "CAT.": "B",
    "A man is talking": "C",
    "(E) and (F) are no options here, (B) is.": "B",
    "<answer>B. cat</answer> Option C was tempting.": "B",
    "<answer>B: a <cat> or so</answer>": "B",
    "<answer>It is <|begin_of_box|>A<|end_of_box|></answer>": "A",
    "The correct option is $\\boxed{A}$.": "A",
    "The correct choice is B, I think.": "B",
    "<answer>B\n\nFor it purrs.": "B",
    "<answer>B</answer": "B",
    "B</answer>": "B",
    "<answer>The answer is B</answer>": "B",
    "<answer>(A) is wrong, (B) fits</answer>": "B",
    "Answer: A, no wait, answer: B": "B",
    "\\boxed{A} Answer: B": "B",
    "Answer: A \\boxed{B}": "B",
    "Answer: a": "A",
    "a": "A",
    "I hear it.\nb": "B",
    "⒝": "B",
    "Ｂ。": "B",
    '```json\n{"answer": "B"}\n```': "B",
}

ANSWERED |= dict.fromkeys(
    [
        "It's not (A), it's (B).",
        "Option A is wrong, option B is right",
        "(A) No. (B) Yes. (C) No.",
        "(A) ✗\n(B) ✓",
        "The answer is B, not A.",
        "The answer is not (A); (B).",
        "The wrong answer is A. The right one is (B).",
        "So the answer isn't A; it's (B).",
        "Not \\boxed{A} but \\boxed{B}",
        "A. dog\nB. cat\nC. A man is talking\nD. D minor\n\nB",
        "A. dog\nB. cat\nC. A man is talking\nD. D minor\n\nB. cat",
        "答案：B",
        "答案是 B。",
        "不是（A），而是（B）",
        "La réponse est B.",
        "Die Antwort ist (B).",
        "Ответ: B",
        "الإجابة: B",
        "Not sure, but the answer is B.",
        "There is no barking, so it is (B).",
        "Since no dog is heard, (B) is right.",
        "There is no doubt that the answer is B.",
        "Answer: B. The dog is not heard at all.",
        "Answer: (B) cat\nExplanation: (A) is wrong as no dog is there. (C) is not heard.",
    ],
    "B",
)

UNANSWERED = [
    *("Answer: A;B", "Answer: A; B", "Answer: (A)(B)", "Answer: A - D", "Answer: A\nor B"),
    *("Answer: A, or possibly B", "Answer: A. Hmm, actually B.", "Answer: A... no wait, B"),
    *("<answer>A\nB</answer>", "<answer>A. B.</answer>", "<answer>(A) (B)</answer>"),
    *("<answer>A and (B)</answer>", "<answer>A. dog, B. cat</answer>", "<answer>A.B</answer>"),
    *("<answer>A) dog; B) cat</answer>", "<answer>A. dog or cat</answer>", "<answer>A: B</answer>"),
    *("\\boxed{A} or \\boxed{B}", "\\boxed{A}\\boxed{B}", "It is not \\boxed{A}."),
    *("<answer>A</answer> is wrong", "<answer>A</answer> or <answer>B</answer>"),
    *(
        "(B) dog",
        "B. dog",
        "Option B (dog)",
        "Answer: B, the dog",
        "<answer>B. dog barking</answer>",
    ),
    *("Option A is the wrong answer.", "Option A can be ruled out.", "I rule out (A).", "(A) ✗"),
    *("(A) would be wrong.", "(A): wrong", "(A) is clearly wrong.", "(A) lacks evidence."),
    *("The wrong answer is A.", "Incorrect answer: (A)", "The least likely answer is A."),
    *("The second best answer is A.", "Their answer is A, mine B", "I doubt the answer is A."),
    *("If it barked, the answer would be A.", "I don't think the answer is A."),
    *(
        "One might say the answer is A, but it's B.",
        "答案不是(A)",
        "不是（A）",
        "Nicht (A).",
        "Pas (A).",
    ),
    *("Die Antwort ist nicht (A).", "Ответ: не (A)", "No es (A).", "Risposta: non (A)"),
    "",
    "<think>The answer is B",
    "<think>Answer: (B) cat</think>",
    "<think>x</think><answer></answer>",
    "<think>x</think><answer>E</answer>",
    "<think>x</think><answer>A or B</answer>",
    "<think>x</think><answer>A, B</answer>",
    "<think>(B)</think><answer>I cannot tell</answer>",
    "Answer: (A) cat",
    "Answer: (A) or (B)",
    "Answer: A - cat",
    "Answer: (A) dog or (B) cat",
    "Answer: A/B",
    "Answer: a dog",
    "Answer: A dog or so",
    "Answer: A man who sings",
    "Answer: E",
    "Option (A) is wrong. Answer: the one that purrs",
    "Answer:",
    "The answer is a",
    "The answer is a dog that barks",
    "The answer is A man who sings",
    "The answer is not (A).",
    "A man walks by a dog.",
    "A big dog",
    "It is (A) or (B).",
    "(A) dog\n(B) cat\n(C) A man is talking\n(D) D minor",
    "A) dog B) cat",
    "A. dog B. cat",
    "He has (blood type A) in the key of D.",
    "Both dog and cat.",
    "(E)",
    "<answer>B or C",
    "<answer>A</answer> or <answer>B",
    "Answer: A\n<answer>B",
    "<answer>B\nThe answer is A",
    "<answer>Not (A)</answer>",
    "<answer>A/B (B)</answer>",
    "(A) is wrong.",
    "(A) isn't it.",
    "It cannot be (A).",
    "Answer: A\nWait, the answer is B.",
    "\\boxed{A} The answer is B.",
    "Option A barks.\ncat",
    "<answer>В</answer>",  # a letter of another alphabet
]


@pytest.mark.parametrize(("text", "letter"), ANSWERED.items())
def test_reads_the_answer(text: str, letter: str) -> None:
    assert extract_answer(text, OPTIONS) == letter


@pytest.mark.parametrize("text", UNANSWERED)
def test_never_guesses(text: str) -> None:
    assert extract_answer(text, OPTIONS) is None


def test_two_options_that_read_alike_need_a_letter() -> None:
    options = ("dog", "cat", "dog")
    assert extract_answer("Answer: dog", options) is None
    assert extract_answer("Answer: (C) dog", options) == "C"


def test_options_that_are_letters_are_read_by_position_where_a_letter_is_asked_for() -> None:
    assert extract_answer("<answer>A</answer>", ("B", "A")) == "A"
    assert extract_answer("Answer: (A) B", ("B", "A")) == "A"
    assert extract_answer("A", ("A", "B")) == "A"
    for text in ("A", "Answer: A", "The answer is A.", "\\boxed{A}"):
        assert extract_answer(text, ("B", "A")) is None


def test_the_article_of_an_option_is_a_part_of_its_text() -> None:
    options = ("C major", "A minor", "B minor", "a cat", "cat")
    assert extract_answer("(A) A minor", options) is None
    assert extract_answer("A. A minor", options) is None
    assert extract_answer("(B) A minor", options) == "B"
    assert extract_answer("(D) a cat", options) == "D"
    assert extract_answer("(D) the cat", options) is None


@pytest.mark.parametrize("text", ["<think>x</think><answer>B", "<answer>B. ca", "\\boxed{B"])
def test_a_block_that_a_limit_cut_off_is_not_read(text: str) -> None:
    assert extract_answer(text, OPTIONS) == "B"
    assert extract_answer(text, OPTIONS, cut=True) is None
    assert extract_answer("<answer>B</answer> And", OPTIONS, cut=True) == "B"


@pytest.mark.parametrize("letter", LETTERS)
def test_every_letter_is_read_alike(letter: str) -> None:
    options = [f"option text {index}" for index in range(8)]
    for form in (
        "<answer>{}</answer>",
        "Answer: ({}) x",
        "Answer: {}",
        "the answer is {}.",
        "({})",
        "{}. x",
        "{})",
    ):
        assert extract_answer(form.format(letter), options) == letter
        assert extract_answer(
            form.format(letter), options[: LETTERS.index(letter)] or ["x", "y"]
        ) in (None if LETTERS.index(letter) else letter,)


def test_well_formed_is_one_thought_then_one_letter() -> None:
    assert is_well_formed("\n<think>It purrs.</think>\n<answer>B</answer>\n", 4)
    assert split_trace("<think> It purrs. </think><answer>B</answer>") == ("It purrs.", "B")


@pytest.mark.parametrize(
    "text",
    [
        "<answer>B</answer>",
        "<think></think><answer>B</answer>",
        "<think> \n </think><answer>B</answer>",
        "<think>x</think><answer>b</answer>",
        "<think>x</think><answer>E</answer>",
        "<think>x</think><answer>(B)</answer>",
        "<think>x</think>B",
        "<think>x</think> so <answer>B</answer>",
        "Sure! <think>x</think><answer>B</answer>",
        "<think>x</think><answer>B</answer> Done.",
        "<think>x</think><answer>B</answer><answer>B</answer>",
        "<think>x</think><think>y</think><answer>B</answer>",
        "<think>x <answer>B</answer></think><answer>B</answer>",
        "<think>x<answer>B</answer>",
    ],
)
def test_anything_else_is_not_well_formed(text: str) -> None:
    assert not is_well_formed(text, 4)


PIECES = st.sampled_from(
    [
        "<think>",
        "</think>",
        "<answer>",
        "</answer>",
        "Answer:",
        "the answer is ",
        "(A)",
        "(B)",
        "B.",
        "C)",
        "D",
        "E",
        "a",
        "A man",
        "dog",
        "cat",
        " or ",
        ", ",
        "\n",
        " ",
        "not ",
        "◁think▷",
        "◁/think▷",
        "option ",
    ]
)
TEXTS = st.one_of(st.text(), st.lists(PIECES, max_size=12).map("".join))


@given(TEXTS, st.lists(st.text(max_size=8), min_size=2, max_size=8))
def test_any_text_gives_a_letter_of_the_options_or_none(text: str, options: list[str]) -> None:
    assert extract_answer(text, options) in (None, *LETTERS[: len(options)])


@given(TEXTS, st.sampled_from("ABCD"))
def test_a_final_answer_block_always_decides(text: str, letter: str) -> None:
    assert extract_answer(f"{text}</think><answer>{letter}</answer>", OPTIONS) == letter


@given(TEXTS)
def test_a_well_formed_trace_answers_its_own_letter(text: str) -> None:
    trace = f"<think>{text}</think><answer>C</answer>"
    if is_well_formed(trace, len(OPTIONS)):
        assert extract_answer(trace, OPTIONS) == "C"


PARSER_DIGESTS = {1: "a76278e5fd382b6d", 2: "e1aeb3f64f9f0bd9"}
"""Of what every version of the parser reads in `reply_forms`."""


def reply_forms() -> list[str]:
    """Replies of every form, with an option's letter, text, or neither in each place."""
    fillings = ("A", "b", "D", "(B)", "B.", "dog", "C. car", "A man", "(A) or (B)", "")
    frames = (
        "{}", "<answer>{}</answer>", "<think>no, (D)</think><answer>{}</answer>",
        "<think>{}</think>", "<think>{}", "Answer: {}", "**Answer:** {}\nSo it is.",
        "The answer is {}.", "the answer must be {} because of the bell", "I hear it.\n{}",
        "{} is what I see", "option {}", "not {}", "Choice {} fits", "A. dog B. cat\n{}",
        "Answer: A\nAnswer: {}", "<answer>A</answer> <answer>{}</answer>", "\u25c1/think\u25b7 {}",
    )  # fmt: skip
    return [frame.format(filling) for frame in frames for filling in fillings]


def test_a_parser_that_reads_otherwise_has_another_version() -> None:
    """When this fails on purpose: raise PARSER_VERSION and add the digest of the new one."""
    read = [extract_answer(text, ("dog", "cat", "car", "bell")) for text in reply_forms()]
    assert len(set(read)) == 5  # every letter, and none
    assert fingerprint(read)[:16] == PARSER_DIGESTS[PARSER_VERSION]
    assert len(set(PARSER_DIGESTS.values())) == PARSER_VERSION == max(PARSER_DIGESTS)
