"""Facts about the authors' rules; the second statement of each is in tests/restated.py."""

from __future__ import annotations

import json
from collections import Counter
from random import Random

import pytest

from avrt.config import DataConfig
from avrt.datasets import read_items
from avrt.evaluate.benchmarks import BENCHMARKS
from avrt.evaluate.official import (
    avhbench,
    avhbench_of_option,
    daily_omni,
    letter,
    omnibench,
    omnibench_gold_by_index,
    omnivideobench,
    token_sets,
    token_sets_of_option,
    video_holmes,
    video_mme,
    video_mme_of_all,
    worldsense,
)
from benchmark_sets import rows_of, write_set
from restated import RESTATED, responses

N_RESPONSES = 5000


def items_of(root, name, content=None):
    return list(read_items(write_set(root, name, content)))


@pytest.fixture
def one(tmp_path):
    """The first item of a set, with changes to its row."""

    def make(name, **changes):
        content = rows_of(name)
        content[0].update(changes)
        return items_of(tmp_path, name, content)[0]

    return make


PETS = {"options": ["A dog", "The cat", "A pretty girl", "Rain"], "answer": "The cat"}


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("B", "B"),
        ("(B)", "B"),
        ("B.", "B"),
        ("(A) is wrong, (B) is right", "B"),
        ("(B) is right, (A) is wrong", "A"),
        ("A man walks", "A"),
        ("C. A pretty girl", "A"),  # the authors' issue 8
        ("A B", "B"),
        ("PICA B ", "B"),
        ("BRAVA", "A"),  # padded with a space, "A " is in it
        ("<answer>B</answer>", None),
        ("D.C.", "C"),  # several, none alone between spaces: the first
        ("it must be the cat I think", "B"),
        ("the cat", None),  # five words at most
        ("the cat and then the rain came", "D"),
        ("", None),
    ],
)
def test_omnibench_reads_a_reply_as_its_authors_do(one, text, parsed):
    verdict = omnibench_gold_by_index(text, one("omnibench", **PETS))
    assert (verdict.parsed, verdict.correct) == (parsed, parsed == "B")
    assert ("N/A" in verdict.why) == (parsed is None)


def test_omnibench_reads_its_gold_text_as_a_reply(one):
    options = [
        "A woman is explaining to a man",
        "A redhead lady is asking question",
        "A man is answering some questions",
        "A man in blue shirt explaining current situation to woman",
    ]
    item = one("omnibench", options=options, answer=options[2])  # gold is C
    assert item.sample.target == "C"
    assert [omnibench(text, item).correct for text in "ABCD"] == [True, False, False, False]
    assert omnibench_gold_by_index("C", item).correct
    assert omnibench(options[2], item).correct


def test_omnibench_without_a_letter_in_the_gold_text_is_wrong_and_says_why(one):
    item = one("omnibench", **PETS)
    for text in ("B", "N/A", "", "the cat"):
        verdict = omnibench(text, item)
        assert not verdict.correct
        assert "no letter in the gold text" in verdict.why


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("C", "C"),
        (" c\n", "C"),
        ("C. A kite", "C"),
        ("system\nuser\nassistant\nC", "C"),
        ("assistantC", "C"),
        ("Could be D", "C"),
        ("Because", "B"),
        ("<think>x</think><answer>C</answer>", None),
        ("(C)", None),
        ("The answer is C", None),
        ("assistant A assistant C", "A"),
        ("Assistant: C", "A"),
        ("", None),
        ("assistant", None),
    ],
)
def test_daily_omni_takes_the_first_letter(one, text, parsed):
    verdict = daily_omni(text, one("daily_omni"))
    assert (verdict.parsed, verdict.correct, verdict.counted) == (parsed, parsed == "C", True)


def test_failures_leave_the_denominator_only_where_the_authors_drop_them(tmp_path):
    counted = {}
    for name, benchmark in BENCHMARKS.items():
        verdict = benchmark.official(None, items_of(tmp_path, name)[0])
        assert (verdict.correct, verdict.parsed) == (False, None)
        counted[name] = verdict.counted
    assert {name for name, is_in in counted.items() if not is_in} == {
        "daily_omni",
        "mmar",
        "mmau",
        "omnivideobench",
        "video_mme",
    }


@pytest.mark.parametrize(
    ("text", "raw", "mapped"),
    [
        ("Harp", True, True),
        ("the harp, played softly", True, True),
        ("C", False, True),
        ("(C) Harp", True, True),
        ("<think>Not the cello.</think><answer>C</answer>", False, True),
        ("Cello, then harp", False, False),
        ("B", False, False),
        ("", False, False),
        ("...", False, False),
    ],
)
def test_sets_of_words_need_the_letter_to_become_its_text(one, text, raw, mapped):
    item = one("mmar")
    assert token_sets(text, item).correct is raw
    assert token_sets_of_option(text, item).correct is mapped


def test_sets_of_words_ignore_order_and_number(one):
    item = one("mmar", choices=["up then down", "down then up", "up up"], answer="up then down")
    assert token_sets("down then up", item).correct
    assert not token_sets("up", item).correct
    item = one("mmar", choices=["C major", "D major"], answer="C major")
    assert token_sets("C. major", item).correct
    assert not token_sets("D. C major", item).correct


def test_an_answer_without_words_is_never_matched(one):
    item = one("mmar", choices=["♪", "a hum"], answer="♪")
    assert [token_sets(text, item).correct for text in ("", "♪", "a")] == [False] * 3


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("<think>A B</think><answer>E</answer>", "E"),
        ("<answer>A</answer><answer>E</answer>", "E"),
        ("<answer>E: The guest</answer>", "E"),
        ("<answer>[E]</answer>", "E"),
        ("<answer>Both E and A </answer>", "E"),  # stripped, so "A" has no space behind it
        ("E or A ", "A"),
        ("The Answer is E", "A"),
        ("<answer>F, not E</answer>", "E"),
        ("e", None),
        ("", None),
        ("<answer></answer>E", None),
        ("<answer>E", "E"),
    ],
)
def test_video_holmes_prefers_early_letters(one, text, parsed):
    verdict = video_holmes(text, one("video_holmes"))
    assert (verdict.parsed, verdict.correct) == (parsed, parsed == "E")


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("B", "B"),
        ("The best answer is C", "C"),
        ("The answer is: (D) none", "D"),
        ("Answer: B", "B"),
        ("Option: D", "D"),
        ("Best answer: C", "B"),
        ("Best option: C", "B"),
        ("The best option is C", "C"),
        ("The best option isThe correct option is B", "B"),
        ("Clearly it is D", "C"),
        ("I hear two of them and so I would go with the second one of all", None),
        ("two", None),
        ("", None),
        ("<answer>B</answer>", "B"),
    ],
)
def test_worldsense_takes_the_first_capital_of_four(tmp_path, text, parsed):
    verdict = worldsense(text, items_of(tmp_path, "worldsense")[0])
    assert (verdict.parsed, verdict.correct) == (parsed, parsed == "B")


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("B", "B"),
        ("B. 5.", "B"),
        ("The best answer is: B", "B"),
        ("The best option is B", "B"),
        ("Answer: B", "A"),
        ("Best answer: C", "B"),
        ("<answer>B</answer>", "B"),
        ("five", None),
        ("", None),
    ],
)
def test_video_mme_does_not_count_a_reply_without_a_letter(tmp_path, text, parsed):
    item = items_of(tmp_path, "video_mme")[0]
    verdict, of_all = video_mme(text, item), video_mme_of_all(text, item)
    assert (verdict.parsed, verdict.correct) == (parsed, parsed == "B")
    assert (of_all.parsed, of_all.correct) == (parsed, parsed == "B")
    assert (verdict.counted, of_all.counted) == (parsed is not None, True)


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("No", "no"),
        ("NO.", "no"),
        ("No, it hangs still.", "no"),
        ("I cannot tell", "no"),
        ("Yes", "yes"),
        ("Yes, but not loud", "yes and no"),
        ("yesterday", "yes"),
        ("B", None),
        ("", None),
    ],
)
def test_avhbench_looks_for_the_gold_word_anywhere(tmp_path, text, parsed):
    no, yes, _ = items_of(tmp_path, "avhbench")
    assert (no.sample.target_text, yes.sample.target_text) == ("No", "Yes")
    verdicts = [avhbench(text, item) for item in (no, yes)]
    assert {verdict.parsed for verdict in verdicts} == {parsed}
    words = parsed.split(" and ") if parsed else []
    assert [verdict.correct for verdict in verdicts] == ["no" in words, "yes" in words]
    assert all(verdict.counted for verdict in verdicts)


def test_avhbench_reads_the_letter_that_a_student_is_asked_for(tmp_path):
    no, yes, _ = items_of(tmp_path, "avhbench")
    text = "<think>I know that bell.</think><answer>A</answer>"
    assert [avhbench(text, item).correct for item in (no, yes)] == [True, False]
    assert [avhbench_of_option(text, item).correct for item in (no, yes)] == [False, True]
    for text in ("Yes, it rings.", "I cannot tell", "", None):
        assert [avhbench_of_option(text, item) for item in (no, yes)] == [
            avhbench(text, item) for item in (no, yes)
        ]


@pytest.mark.parametrize(
    ("text", "correct", "counted"),
    [
        ("C", True, True),
        ("c.", True, True),
        ("C. 2", True, True),
        ("(C)", True, True),
        ("C.2", True, True),
        ("user ... assistant\nC", True, True),
        ("so \\boxed{C}", True, True),
        ("so \\boxed{C. 2}", True, True),
        ("so /box{C}", True, True),
        ("C 2", False, True),
        ("The answer is C", False, True),
        ("<answer>C</answer>", False, True),
        ("", False, True),
        ("Error: no idea", False, False),
        ("Video file not found.", False, False),
    ],
)
def test_omnivideobench_takes_a_letter_and_nothing_else(tmp_path, text, correct, counted):
    verdict = omnivideobench(text, items_of(tmp_path, "omnivideobench")[0])
    assert (verdict.correct, verdict.counted) == (correct, counted)


def test_avqa_is_judged_by_the_index_of_the_letter(tmp_path):
    item = items_of(tmp_path, "avqa")[0]
    assert letter("<think>It meows.</think><answer>B</answer>", item).correct
    assert not letter("<answer>A</answer>", item).correct
    assert letter("A cat or a dog", item).parsed is None


def rule_of(name, rule):
    benchmark = BENCHMARKS[name]
    return benchmark.official if rule == "official" else benchmark.variants[rule]


CASES = {
    rule_of(name, rule): (name, rule)
    for name, benchmark in BENCHMARKS.items()
    for rule in ("official", *benchmark.variants)
}.values()
"""Every rule that AVRT reports, on the last of the sets that share it."""


def many_items(root, name):
    """The set's items, and others whose options try the rules."""
    if name not in ("omnibench", "daily_omni", "mmau"):
        return items_of(root, name)
    content = rows_of(name)
    texts = (
        ["A man", "a man", "A", "B man"],
        ["(B) x", "D", "C. y", "the A team won it all in one go"],
        ["one two three", "three two one", "two one", "İ ß _x_ 10"],
        ["a man sings and a man plays drums", "sings and", "Rain.", "A. rain B. snow"],
    )
    for number, options in enumerate(texts):
        for place, answer in enumerate(options):
            row = content[0] | {"options": options, "choices": options, "answer": answer}
            row |= {"id": f"{number}-{place}", "index": 100 + 10 * number + place}
            if name == "daily_omni":
                row |= {"Answer": "ABCD"[place], "video_id": row["id"]}
            content.append(row)
    return items_of(root, name, content)


def test_every_rule_is_stated_twice():
    assert {name: {*rules} for name, rules in RESTATED.items()} == {
        name: {"official", *benchmark.variants} for name, benchmark in BENCHMARKS.items()
    }


@pytest.mark.parametrize(("name", "rule"), CASES)
def test_both_statements_of_a_rule_agree_on_generated_replies(tmp_path, name, rule):
    random = Random(f"{name} {rule}")
    items = many_items(tmp_path, name)
    first, second = rule_of(name, rule), RESTATED[name][rule]
    outcomes = Counter()
    for number in range(N_RESPONSES):
        item = items[number % len(items)]
        (text,) = (None,) if number % 100 == 99 else responses(random, item, 1)
        verdict = first(text, item)
        assert (verdict.correct, verdict.counted) == second(text, item), (text, item.row)
        outcomes[verdict.correct, verdict.parsed is None] += 1
    assert outcomes[True, False] > N_RESPONSES / 50  # not all of one kind
    assert outcomes[False, False] + outcomes[False, True] > N_RESPONSES / 50


@pytest.fixture(scope="module")
def mmar(real_data, tmp_path_factory):
    root = tmp_path_factory.mktemp("mmar")
    (root / "MMAR-meta.jsonl").symlink_to(real_data / "annotations" / "MMAR-meta.jsonl")
    return list(read_items(DataConfig(format="mmar", root=root)))


def test_real_mmar_is_judged_as_measured(mmar):
    """The figures that were measured with the authors' own script."""
    right = Counter()
    for item in mmar:
        gold, target = item.row["answer"], item.sample.target
        right["gold text"] += token_sets(gold, item).correct
        right["bare letter"] += token_sets(target, item).correct
        right["letter and text"] += token_sets(f"{target}. {gold}", item).correct
        right["mapped letter"] += token_sets_of_option(target, item).correct
        right["wrong choice"] += sum(
            token_sets(choice, item).correct for choice in item.row["choices"] if choice != gold
        )
    assert right == {
        "gold text": 1000,
        "bare letter": 0,
        "letter and text": 985,
        "mapped letter": 1000,
        "wrong choice": 28,
    }


def test_real_daily_omni_gives_its_gold_letters_full_marks(real_data, tmp_path):
    (tmp_path / "qa.json").symlink_to(real_data / "annotations" / "daily_omni_qa.json")
    items = list(read_items(DataConfig(format="daily_omni", root=tmp_path)))
    assert sum(daily_omni(item.row["Answer"], item).correct for item in items) == 1197
    assert json.loads((tmp_path / "qa.json").read_text())[0] == items[0].row
