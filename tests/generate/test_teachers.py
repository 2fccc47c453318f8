"""Facts about several answers, shuffled options, even letters, and teachers beyond the two."""

from __future__ import annotations

import json
import re
import sqlite3
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from avrt.config import Config, load_config
from avrt.datasets import prepare
from avrt.datasets.prepared import load_prepared
from avrt.errors import ConfigError
from avrt.generate import build, merge, trace
from avrt.generate.option_order import in_order, restore_letter
from avrt.generate.records import answers_about, iter_teachers
from avrt.generate.views import view_row
from avrt.runs import read_parquet
from avrt.types import LETTERS, Prompt
from scripted_run import OPTIONS, Answer, MakeConfig, overrides, right, write_dataset, wrong

SHUFFLED = "generate.shuffle_options=true"


@pytest.fixture
def use(use_answers: Callable[[Answer], list[Prompt]]) -> Callable[[Answer], list[Prompt]]:
    """Short for `use_answers`."""
    return use_answers


def answers(k: int, *roles: str) -> list[str]:
    """Overrides for k answers of each teacher."""
    of_each = (f"teachers.{role}.{{}}" for role in roles or ("vision", "audio"))
    return [one.format(part) for one in of_each for part in (f"k={k}", "temperature=1.0")]


def third(root: Path, name: str, modality: str, **settings: object) -> str:
    """Override that adds a teacher with a prompt of its own."""
    (root / f"{name}.txt").write_text(f"{name.upper()} {{question}}\n{{options}}")
    role = {"model": f"scripted-{name}", "prompt": str(root / f"{name}.txt")}
    engine = {"kind": "scripted", "script": str(root / "script.jsonl")}
    return f"teachers.{name}=" + json.dumps(
        {**role, "modality": modality, "engine": engine, **settings}
    )


def root_of(config: Config) -> Path:
    return config.data.root.parent


def number_of(prompt: Prompt) -> int:
    return int(prompt.text.split("question ")[1].split("?")[0])


def shown(prompt: Prompt) -> list[str]:
    """The options in the order in which the prompt lists them."""
    return re.findall(r"^\([A-H]\) (.+)$", prompt.text, re.MULTILINE)[: len(OPTIONS)]


def letter_of_gold(prompt: Prompt) -> str:
    return LETTERS[shown(prompt).index(OPTIONS[number_of(prompt) % 4])]


def knowing(prompt: Prompt) -> str:
    """Knows the right option wherever it stands; as merger it repeats the answer it is told."""
    if prompt.text.startswith("MERGE"):
        told = prompt.text.splitlines()[5]
        return f"<think>It can only be {told[4:]}.</think>\n<answer>{told[1]}</answer>"
    return f"Reasoning: I know.\nAnswer: ({letter_of_gold(prompt)})"


def rows_of(config: Config) -> list[dict[str, Any]]:
    folder = config.run.path / "dataset"
    return [
        row for name in ("train", "validation") for row in read_parquet(folder / f"{name}.parquet")
    ]


def generate(config: Config) -> Counter[str]:
    for stage in (trace, merge):
        stage.run(config)
    return Counter(build.run(config).counts)


# Several answers


def test_every_teacher_is_asked_k_times_with_seeds_of_their_own(
    make_config: MakeConfig, use: Callable[[Answer], list[Prompt]]
) -> None:
    config = make_config(None, *answers(3))
    assert "7 samples, 42 calls" in trace.plan(config)
    prompts = use(knowing)
    counts = trace.run(config).counts
    assert len(prompts) == 42
    assert (counts["read"], counts["kept"], counts["vision/right"]) == (7, 7, 21)
    traces = dict(iter_teachers(config.run.path))["avqa-train-2"]["vision"]
    assert [one.k for one in traces] == [0, 1, 2]
    assert len({one.key for one in traces}) == 3
    with sqlite3.connect(config.run.path / "ledger.sqlite") as ledger:
        requests = [
            json.loads(text) for (text,) in ledger.execute("SELECT request_json FROM calls")
        ]
    ledger.close()
    seeds = {one["sampling"]["seed"] for one in requests if "VISION question 2?" in one["text"]}
    assert len(seeds) == 3


def test_the_merger_gets_the_first_right_answer(
    make_config: MakeConfig, use: Callable[[Answer], list[Prompt]]
) -> None:
    asked: Counter[tuple[str, int]] = Counter()

    def right_at_last(prompt: Prompt) -> str:
        if prompt.text.startswith("MERGE"):
            return knowing(prompt)
        who = (prompt.text.split()[0], number_of(prompt))
        asked[who] += 1
        letter = right(who[1]) if asked[who] >= 2 else wrong(who[1])
        return f"attempt {asked[who]}\nAnswer: ({letter})"

    prompts = use(right_at_last)
    config = make_config(None, *answers(3), "build.view=vision_right = 2 AND NOT vision_first")
    assert generate(config)["kept"] == 7
    merged = [one.text for one in prompts if one.text.startswith("MERGE")]
    assert len(merged) == 7
    assert all(text.count("attempt 2\n") == 2 and "attempt 1" not in text for text in merged)
    row = rows_of(config)[0]
    assert row["vision_text"].startswith("attempt 2")
    assert row["vision_correct"] is False, "by the first answer"
    assert row["teachers"][0] == {
        "role": "vision", "modality": "v", "k": 3, "answered": 3, "right": 2
    }  # fmt: skip
    assert row["stratum"] == "none"
    assert len(row["call_keys"]) == 7


# Shuffled options


def test_who_knows_the_option_is_right_wherever_it_stands(
    make_config: MakeConfig, use: Callable[[Answer], list[Prompt]]
) -> None:
    def by_text(prompt: Prompt) -> str:
        return f"Answer: {OPTIONS[number_of(prompt) % 4]}"

    for answer in (by_text, knowing):
        prompts = use(answer)
        config = make_config(None, *answers(8), SHUFFLED, f"run.seed={answer is knowing:d}")
        (config.run.path / "manifests" / "trace.json").unlink(missing_ok=True)
        counts = trace.run(config).counts
        assert counts["vision/right"] == counts["audio/right"] == 56
        assert len({tuple(shown(prompt)) for prompt in prompts}) > 15


@pytest.mark.parametrize(("shuffle", "low", "high"), [(True, 0.16, 0.34), (False, 1 / 7, 1 / 7)])
def test_who_always_says_a_is_right_once_in_n_when_options_are_shuffled(
    make_config: MakeConfig,
    use: Callable[[Answer], list[Prompt]],
    shuffle: bool,
    low: float,
    high: float,
) -> None:
    use(lambda _: "Answer: (A)")
    config = make_config(None, *answers(16), f"generate.shuffle_options={shuffle}")
    counts = trace.run(config).counts
    n_right = counts["vision/right"] + counts["audio/right"]
    assert low <= n_right / (7 * 16 * 2) <= high


def test_letters_are_put_back_in_text_and_answer(
    make_config: MakeConfig, use: Callable[[Answer], list[Prompt]]
) -> None:
    use(lambda prompt: f"Option B is {shown(prompt)[1]}, not (C).\n**Answer: (B)**")
    config = make_config(None, *answers(4), SHUFFLED)
    trace.run(config)
    for of_sample in dict(iter_teachers(config.run.path)).values():
        for one in of_sample["audio"]:
            stored = restore_letter("B", one.order)
            assert one.answer == stored
            option = in_order(OPTIONS, one.order)[1]
            assert option == OPTIONS[LETTERS.index(stored)]
            other = restore_letter("C", one.order)
            assert (
                one.text == f"Option {stored} is {option}, not ({other}).\n**Answer: ({stored})**"
            )


# Even letters


def test_gold_letters_of_the_dataset_are_even_though_the_source_always_says_a(
    tmp_path: Path, use: Callable[[Answer], list[Prompt]]
) -> None:
    write_dataset(tmp_path, n_questions=160)
    annotations = tmp_path / "data" / "train_qa.json"
    rows = json.loads(annotations.read_text())
    for row in rows:
        gold = OPTIONS[row["id"] % 4]
        row["answer"] = 0
        row["multi_choice"] = [gold, *(option for option in OPTIONS if option != gold)]
    annotations.write_text(json.dumps(rows))
    (tmp_path / "script.jsonl").touch()
    settings = (*overrides(tmp_path), "build.balance_letters=true", SHUFFLED)
    config = load_config(None, settings)
    prepare.run(config)
    use(knowing)
    assert generate(config)["kept"] == 159
    built = rows_of(config)
    letters = Counter(row["answer_letter"] for row in built)
    assert all(0.13 < letters[letter] / 159 < 0.37 for letter in "ABCD"), letters
    for row in built:
        number = int(row["id"].split("-")[-1])
        assert row["choices"][row["answer"]] == row["answer_text"] == OPTIONS[number % 4]
        assert row["av_reasoning"].endswith(f"<answer>{row['answer_letter']}</answer>")
        for text in (row["vision_text"], row["audio_text"]):
            assert text.endswith(f"Answer: ({row['answer_letter']})"), "in the letters of the row"


# A blind teacher, and views


def blind_and_views(
    config: Config, use: Callable[[Answer], list[Prompt]], n_right: dict[str, dict[int, int]]
) -> list[Prompt]:
    """Let each role be right so often about each question, always when it is not named."""
    asked: Counter[tuple[str, int]] = Counter()

    def answer(prompt: Prompt) -> str:
        if prompt.text.startswith("MERGE"):
            return knowing(prompt)
        role, number = prompt.text.split()[0].lower(), number_of(prompt)
        asked[role, number] += 1
        is_right = asked[role, number] <= n_right.get(role, {}).get(number, 99)
        return f"Answer: ({right(number) if is_right else wrong(number)})"

    return use(answer)


N_RIGHT = {
    "vision": {1: 2, 2: 3, 3: 0},
    "audio": {4: 2, 5: 3},
    "blind": {1: 0, 2: 0, 3: 0, 4: 4, 5: 4, 6: 1, 7: 0},
}


@pytest.mark.parametrize(
    ("view", "wanted"),
    [
        ("paper", "124567"),
        ("agree", "2567"),
        ("av_hard", "127"),
        ("unfiltered", "1234567"),
        ("hard", "267"),
        ("vision_right < 3 AND blind_right = 0 AND question_type = 'Which'", "13"),
    ],
)
def test_a_view_builds_what_its_condition_says(
    make_config: MakeConfig, use: Callable[[Answer], list[Prompt]], view: str, wanted: str
) -> None:
    root = root_of(make_config())
    config = make_config(
        None,
        *answers(4),
        third(root, "blind", "none", k=4, temperature=1.0),
        f"build.view={view}",
        "build.views.hard=vision_right >= 3 AND blind_right < 2",
        "build.validation_fraction=0",
    )
    prompts = blind_and_views(config, use, N_RIGHT)
    counts = generate(config)
    built = {row["id"][-1]: row for row in rows_of(config)}
    assert "".join(sorted(built)) == wanted
    assert (counts["read"], counts["kept"]) == (8, len(wanted))
    blind = [one for one in prompts if one.text.startswith("BLIND")]
    assert len(blind) == 28
    assert all(one.frames is None and one.audio is None for one in blind)
    for number, row in built.items():
        assert row["teachers"][2] == {
            "role": "blind",
            "modality": "none",
            "k": 4,
            "answered": 4,
            "right": N_RIGHT["blind"][int(number)],
        }
    merged = [one.text for one in prompts if one.text.startswith("MERGE")]
    assert all(text.count("Answer:") == 2 for text in merged), "a blind answer is not merged"


def test_a_blind_teacher_that_failed_shows_nothing(
    make_config: MakeConfig, use: Callable[[Answer], list[Prompt]]
) -> None:
    """Its silence does not make a question one that cannot be guessed."""
    root = root_of(make_config())
    config = make_config(
        None,
        third(root, "blind", "none"),
        "build.view=av_hard",
        "build.validation_fraction=0",
        "generate.max_failure_rate=0.5",
    )
    failing = "BLIND question 3?"
    use(
        lambda prompt: (
            None
            if failing in prompt.text
            else f"Answer: ({wrong(number_of(prompt))})"
            if prompt.text.startswith("BLIND")
            else knowing(prompt)
        )
    )
    generate(config)
    assert "".join(sorted(row["id"][-1] for row in rows_of(config))) == "124567"
    prompts = use(lambda prompt: f"Answer: ({wrong(number_of(prompt))})")
    trace.run(config)
    assert [prompt.text.split("\n")[0] for prompt in prompts] == [failing]


def test_views_of_one_size_are_cut_to_the_smallest(
    make_config: MakeConfig, use: Callable[[Answer], list[Prompt]]
) -> None:
    sizes: dict[str, int] = {}
    for view, others in (("unfiltered", "[agree]"), ("agree", "[unfiltered]")):
        config = make_config(
            None,
            *answers(4),
            f"build.view={view}",
            f"build.same_size_as={others}",
            "build.validation_fraction=0",
        )
        blind_and_views(config, use, N_RIGHT)
        counts = generate(config)
        sizes[view] = counts["kept"]
        assert counts["dropped/over_size"] == (3 if view == "unfiltered" else 0)
    assert sizes == {"unfiltered": 4, "agree": 4}


def test_what_a_benchmark_holds_counts_for_no_view(
    make_config: MakeConfig, use: Callable[[Answer], list[Prompt]]
) -> None:
    """Questions 1 and 3 are in one of the two views; each view must know it of the other."""
    data = make_config().data.root
    rows = json.loads((data / "train_qa.json").read_text())
    held = [{**row, "video_name": "elsewhere"} for row in rows if row["id"] in (1, 3)]
    (data / "val_qa.json").write_text(json.dumps(held))
    sizes: list[int] = []
    for view, other in (("seen", "heard"), ("heard", "seen")):
        config = make_config(
            None,
            *answers(4),
            "build.views={seen: vision_right >= 3, heard: audio_right >= 3}",
            f"build.view={view}",
            f"build.same_size_as=[{other}]",
            f"build.decontaminate.bench={{root: {data}, split: val}}",
            "build.validation_fraction=0",
        )
        blind_and_views(config, use, N_RIGHT)
        sizes.append(generate(config)["kept"])
    assert sizes == [4, 4]


def test_a_view_of_a_teacher_that_is_not_asked_is_refused_before_any_call(
    make_config: MakeConfig, use: Callable[[Answer], list[Prompt]]
) -> None:
    prompts = use(knowing)
    for change in ("build.view=av_hard", "build.same_size_as=[av_hard]", "teachers.audio=null"):
        with pytest.raises(ConfigError, match=r"no such column: (blind|audio)_"):
            trace.run(make_config(None, change))
    assert prompts == []


# More teachers, and fewer


def test_a_third_teacher_of_both_reaches_the_merger_among_the_analyses(
    make_config: MakeConfig, use: Callable[[Answer], list[Prompt]]
) -> None:
    root = root_of(make_config())
    (root / "all.txt").write_text("MERGE {question}\n{options}\n{answer}\n{analyses}")
    both = third(root, "both", "av")
    settings = (both, f"merger.prompt={root / 'all.txt'}", "build.validation_fraction=0")
    config = make_config(None, *settings)
    prompts = use(knowing)
    assert generate(config)["kept"] == 7
    of_both = [one for one in prompts if one.text.startswith("BOTH")]
    assert len(of_both) == 7
    assert all(one.frames is not None and one.audio is not None for one in of_both)
    merged = next(one.text for one in prompts if one.text.startswith("MERGE question 3?"))
    assert merged.split("\n", 6)[6] == "\n\n".join(
        f"{name} analysis:\nReasoning: I know.\nAnswer: (D)" for name in ("Vision", "Audio", "Both")
    )
    row = rows_of(config)[0]
    assert [one["role"] for one in row["teachers"]] == ["vision", "audio", "both"]
    assert row["stratum"] == "both"
    columns = view_row(*next(answers_about(config.run.path, load_prepared(config.run.path))))
    assert (columns["both_right"], columns["both_first"]) == (1, 1)


def test_a_teacher_of_both_is_refused_when_the_merger_would_not_read_it(
    make_config: MakeConfig, use: Callable[[Answer], list[Prompt]]
) -> None:
    use(knowing)
    config = make_config(None, third(root_of(make_config()), "both", "av"))
    trace.run(config)
    with pytest.raises(ConfigError, match=r"teachers\.both .*would not reach the merger.*analyses"):
        merge.run(config)


def test_two_teachers_of_one_modality_are_joined_in_its_analysis(
    make_config: MakeConfig, use: Callable[[Answer], list[Prompt]]
) -> None:
    config = make_config(None, third(root_of(make_config()), "second", "v"))
    prompts = use(lambda one: f"{one.text.split()[0]} says {knowing(one)}")
    trace.run(config)
    merge.run(config)
    merged = next(one.text for one in prompts if one.text.startswith("MERGE question 3?"))
    assert [line.split()[0] for line in merged.splitlines() if " says " in line] == [
        "AUDIO",
        "VISION",
        "SECOND",
    ]


def test_one_teacher_is_taken_out_by_null(
    make_config: MakeConfig, use: Callable[[Answer], list[Prompt]]
) -> None:
    config = make_config(None, "teachers.audio=null", "build.view=vision_first")
    assert "7 samples, 7 calls of 1 teachers" in trace.plan(config)
    prompts = use(knowing)
    assert generate(config)["kept"] == 7
    assert not any(one.text.startswith("AUDIO") for one in prompts)
    row = rows_of(config)[0]
    assert (row["vision_correct"], row["audio_correct"], row["audio_text"]) == (True, None, None)
    assert row["stratum"] == "vision_only"
