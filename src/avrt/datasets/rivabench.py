"""RivaBench: 2,128 questions about stand-up comedy and 1,912 about academic talks, five options.

Each part is a JSON list in the form in which its authors' test script (video-SALMONN-o1,
`inference.py`) reads questions: `video`, at times `audio`, and a `conversations` of two turns. The
first asks, with the options behind "Choose from:", each in a line from "A. " on; the second is the
answer, its letter or its letter and text. Around the question may stand the marks and sentences of
the authors' two prompts; they are cut off. The third part, SynthDec, asks yes or no, and is not
read.

The decision to question: the paths in the authors' rows are those of their machines, so a file is
also looked for by its name alone. Rows have no id: the n-th question about a clip is called by the
clip and n. Where a clip's sound file is absent and its video is there, the video's own is used.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from avrt.datasets.names import MediaNames, split_ending
from avrt.datasets.rows import options_and_gold, read_annotations, read_json_list, text
from avrt.texts import shown
from avrt.types import BenchmarkItem, Sample

__all__ = ["read_rivabench_academic", "read_rivabench_standup"]

_BEFORE = re.compile(
    r"(?:\s|<(?:image|video|audio)>|Question:|Select the best answer to the following question "
    r"based on the video\.|Respond with only the letter of the correct option\.)*",
    re.IGNORECASE,
)
_BEHIND = re.compile(r"\s*Answer the question step by step\b.*", re.DOTALL | re.IGNORECASE)
"""The rest of the prompt that asks for reasoning."""
_CHOOSE = re.compile(r"\s*Choose from:\s*", re.IGNORECASE)
_OPTION = re.compile(r"^\s*(?=[A-H][.,)]\s)", re.MULTILINE)


def read_rivabench_standup(names: MediaNames, path: Path) -> Iterator[BenchmarkItem]:
    """Yield the items of the StandUp part in file order; media are found by `names`.

    Raises:
        DataError: not RivaBench's format; file and row are named.
    """
    return _read(names, path, "standup")


def read_rivabench_academic(names: MediaNames, path: Path) -> Iterator[BenchmarkItem]:
    """As `read_rivabench_standup`, for the Academic part."""
    return _read(names, path, "academic")


def _read(names: MediaNames, path: Path, part: str) -> Iterator[BenchmarkItem]:
    seen: Counter[str] = Counter()

    def to_item(row: dict[str, Any], source: str) -> BenchmarkItem:
        asked, answer = _turns(row)
        question, options = _question_and_options(asked)
        published = {"options": options, "answer": answer}
        texts, gold = options_and_gold(published, "options", "answer", "letter")
        clip = split_ending(PurePosixPath(text(row, "video")).name)[0]
        seen[clip] += 1
        video = _find(row, "video", names)
        audio = _find(row, "audio", names) if "audio" in row else None
        has_own_sound = audio is not None and not names.has(audio) and names.has(video)
        sample = Sample(
            id=f"rivabench_{part}-{clip}-{seen[clip]}",
            question=question,
            options=texts,
            answer_index=gold,
            question_type=part,
            question_relation="both",
            video_id=clip,
            video=video,
            audio=None if has_own_sound else audio,
            source=source,
        )
        return BenchmarkItem(sample, {"part": part}, row | published)

    rows = enumerate(read_json_list(path), 1)
    return read_annotations(path, rows, ("conversations", "video"), to_item)


def _turns(row: dict[str, Any]) -> tuple[str, str]:
    """The question and the answer of a conversation, as they are."""
    turns = row["conversations"]
    if isinstance(turns, list) and [isinstance(turn, dict) for turn in turns] == [True, True]:
        return text(turns[0], "value"), text(turns[1], "value")
    raise ValueError(f"conversations is {shown(turns)}, not a question and its answer")


def _question_and_options(asked: str) -> tuple[str, list[str]]:
    parts = _CHOOSE.split(_BEHIND.sub("", asked))
    if len(parts) < 2:
        raise ValueError(f"{shown(asked)} has no options behind 'Choose from:'")
    question = _BEFORE.sub("", "\n".join(parts[:-1]), count=1).strip()
    if not question:
        raise ValueError(f"{shown(asked)} has no question before 'Choose from:'")
    options = [option.strip() for option in _OPTION.split(parts[-1]) if option.strip()]
    return question, [re.sub("^([A-H]),", r"\1.", option) for option in options]


def _find(row: dict[str, Any], field: str, names: MediaNames) -> str:
    """The file that a row names, below the root."""
    path = PurePosixPath(text(row, field))
    as_named = [] if path.is_absolute() else [str(path)]
    return names.find(*as_named, f"{field}s/{path.name}", path.name)
