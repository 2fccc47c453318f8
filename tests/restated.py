"""The authors' rules once more, written in another way from their descriptions.

Each returns (correct, counted) for a reply, or for None where the call failed. No function here
uses one of `avrt.evaluate.official`, and where that uses regular expressions this walks over
characters, and the other way round.
"""

from __future__ import annotations

import re
import unicodedata

from avrt.answers import extract_answer

__all__ = ["RESTATED", "responses"]

WORD = re.compile(r"\w")


def _omnibench_parse(response, options):
    """The N/A parser as a list of stages, each with the letters found and the place of each."""
    text = " " + response + " "
    stages = [[], [], [], []]
    for letter, option in zip("ABCDEFGH", options, strict=False):
        alone = [m.start() for m in re.finditer(rf"(?= {letter} )", text)]
        if re.search(rf"\({letter}\)", text):
            stages[0].append((letter, max(m.start() for m in re.finditer(rf"\({letter}\)", text))))
        if re.search(rf"{letter} ", text):
            stages[1].append((letter, max(alone, default=-1)))
        if re.search(rf"{letter}\.", text):
            stages[2].append((letter, max(alone, default=-1)))
        places = [m.start() for m in re.finditer(f"(?={re.escape(option.lower())})", text.lower())]
        if places and len(re.findall(r"\S+", text)) > 5:
            stages[3].append((letter, max(places)))
    stage = next((stage for stage in stages if stage), None)
    if stage is None:
        return "N/A"
    best = stage[0]
    for found in stage[1:]:
        best = found if found[1] > best[1] else best  # ties stay with the first
    return best[0]


def omnibench(text, item):
    gold = _omnibench_parse(item.row["answer"], item.row["options"])
    if text is None or gold == "N/A":
        return False, True
    return _omnibench_parse(text, item.row["options"]) == gold, True


def omnibench_gold_by_index(text, item):
    if text is None:
        return False, True
    parsed = _omnibench_parse(text, item.row["options"])
    return parsed == "ABCDEFGH"[item.row["options"].index(item.row["answer"])], True


def daily_omni(text, item):
    if text is None:
        return False, False
    match = re.search(r"assistant([\s\S]*)", text)
    match = re.match(r"\s*([A-Da-d])", match.group(1) if match else text)
    return bool(match) and match.group(1).upper() == item.row["Answer"], True


def _words(text):
    """Runs of word characters, by walking over the text."""
    words, word = set(), ""
    for character in text.lower() + " ":
        if WORD.match(character):
            word += character
        elif word:
            words.add(word)
            word = ""
    return words


def token_sets(text, item):
    if text is None:
        return False, False
    said, right = _words(text), _words(item.row["answer"])
    wrong = [word for choice in item.row["choices"] for word in _words(choice) if word not in right]
    return bool(said) and all(w in said for w in right) and not any(w in said for w in wrong), True


def token_sets_of_option(text, item):
    letter = None if text is None else extract_answer(text, item.sample.options)
    if letter is not None:
        text = item.row["choices"][ord(letter) - ord("A")]
    return token_sets(text, item)


def video_holmes(text, item):
    if text is None:
        return False, True
    payload = text
    while "<answer>" in payload:  # peel blocks off from the front
        rest = payload[payload.index("<answer>") + len("<answer>") :]
        if "</answer>" not in rest:
            break
        end = rest.index("</answer>")
        last, payload = rest[:end].strip(), rest[end + len("</answer>") :]
        text = last
    for letter in "ABCDEF":
        if re.search(rf"{letter}[ :]|\[{letter}", text):
            return letter == item.row["Answer"], True
    capitals = sorted(set(text) & set("ABCDEF"))
    return capitals[:1] == [item.row["Answer"]], True


def worldsense(text, item):
    if text is None:
        return False, True
    cut = text.strip()
    for phrase in ("The best answer is", "The correct answer is", "The answer is", "The answer"):
        cut = "".join(cut.split(phrase))
    cut = "".join(cut.split("The best option isThe correct option is"))
    cut = "".join(cut.split("Best answer:Best option:"))
    cut = "".join("".join(cut.split("Answer:")).split("Option:"))
    first = next((character for character in cut if character in "ABCD"), "")
    return first == item.row["answer"], True


def video_mme(text, item):
    correct, _ = video_mme_of_all(text, item)
    return correct, text is not None and bool(set(_without_phrases(text)) & set("ABCD"))


def video_mme_of_all(text, item):
    if text is None:
        return False, True
    letters = [character for character in _without_phrases(text) if character in "ABCD"]
    return letters[:1] == [item.row["answer"]], True


def _without_phrases(text):
    for pattern in (
        "The (?:best|correct) answer is",
        "The answer is",
        "The answer",
        "The best option isThe correct option is",
        "Best answer:Best option:",
    ):
        text = re.sub(pattern, "", text)
    return text


def avhbench(text, item):
    if text is None:
        return False, True
    return re.search(item.row["label"], text, re.IGNORECASE | re.ASCII) is not None, True


def avhbench_of_option(text, item):
    letter = None if text is None else extract_answer(text, item.sample.options)
    if letter is not None:
        text = ("Yes", "No")["AB".index(letter)]
    return avhbench(text, item)


def omnivideobench(text, item):
    if text is None:
        return False, False
    answer = text.split("assistant")[-1].strip()
    for opening in ("/box{", "\\boxed{"):
        start = 0
        while (place := answer.find(opening, start)) >= 0:
            inside, closed, _ = answer[place + len(opening) :].partition("}")
            if closed and inside:
                answer = inside.strip()
                break
            start = place + 1
    if answer[:6] == "Error:" or answer[:20] == "Video file not found":
        return False, False
    answer = answer.lower()
    boxed = re.search(r"/box\{([^}]+)\}", answer)
    answer = boxed.group(1) if boxed else answer
    if len(answer) > 1 and answer[1] == ".":
        answer = answer[0]
    kept = [c for c in answer if not (c.isascii() and _is_mark(c))]
    return "".join(kept).split() == [item.row["correct_option"].lower()], True


def _is_mark(character):
    return unicodedata.category(character)[0] in "PS"


def letter(text, item):
    if text is None:
        return False, True
    index = "ABCDEFGH".find(extract_answer(text, item.sample.options) or "-")
    return index == item.sample.answer_index, True


RESTATED = {
    "omnibench": {"official": omnibench, "gold_by_index": omnibench_gold_by_index},
    "daily_omni": {"official": daily_omni},
    "avqa": {"official": letter},
    "mmar": {"official": token_sets_of_option, "raw": token_sets},
    "mmau": {"official": token_sets_of_option, "raw": token_sets},
    "video_holmes": {"official": video_holmes},
    "worldsense": {"official": worldsense},
    "omnivideobench": {"official": omnivideobench},
    "video_mme": {"official": video_mme, "of_all": video_mme_of_all},
    "rivabench_standup": {"official": letter},
    "rivabench_academic": {"official": letter},
    "avhbench": {"official": avhbench_of_option, "raw": avhbench},
    "parquet": {"official": letter},
    "webdataset": {"official": letter},
}

PIECES = (
    *"ABCDEFGabcd",
    *(
        "(A)",
        "(B)",
        "(C)",
        "(D)",
        "A.",
        "B.",
        "C. ",
        "D)",
        "E:",
        "[F",
        "A ",
        " B ",
        "PICA C",
        "[A]",
    ),
    *("<answer>", "</answer>", "<think>", "</think>", "assistant", "assistant\n", "user", "Error:"),
    *("The best answer is", "The answer is ", "The answer", "Answer:", "Option: ", "Best answer: "),
    *("The best option is", "The correct option is ", "Best option:", "Video file not found"),
    *("\\boxed{B}", "\\boxed{C.}", "/box{A}", "/Box{b}", "\\boxed{", "}", "{", "Because", "a man"),
    *(
        "A man",
        "not",
        "no",
        "because",
        "we heard",
        "\n",
        " ",
        "  ",
        "\t",
        ".",
        ",",
        ":",
        "",
        "é",
        "Ａ",
    ),
    *("$B$", "`C`", "**D**", "b.", "d. text", "\u00a0", "\u2028", "İ", "_", "ß", "3", "10 Hz"),
)


def responses(random, item, n):
    """n replies of up to nine pieces: letters in all forms, tags, phrases, the item's own texts."""
    texts = [*item.sample.options, *(o.upper() for o in item.sample.options), item.sample.question]
    texts += [word for option in item.sample.options for word in option.split()]
    for _ in range(n):
        n_pieces = random.choice((0, 1, 1, 1, 2, 2, 3, 4, 6, 9))
        pieces = [
            random.choice(PIECES if random.random() < 0.6 else texts) for _ in range(n_pieces)
        ]
        yield random.choice((" ", " ", "", ", ")).join(pieces)
