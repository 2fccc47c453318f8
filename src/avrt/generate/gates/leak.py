"""Gate `leak`: the trace lets on that the answer was given, or talks about its sources.

The merger reads two analyses and the right answer, but is to write as one who sees and hears the
clip. Four kinds of talk are found, each by groups of patterns with the contexts (leak_context.py)
in which the same words are innocent:

* answer: a given, expected or marked answer; the answer as a premise or as something to justify;
* told: "we are told", the prompt, the task;
* source: descriptions, analyses, traces, agents, "both teachers", "the information provided";
* hearsay: reports without a speaker in the clip: "is reported to", "described as", "the mention
  of".

Innocent is what belongs to the clip: speech in quotation marks, texts on a screen or a sign, what
somebody in the clip says or gives, and people and things (a teacher, a model, a report) that a
teacher's description or the question names too.

Limits: English only. A hint in none of these words ("the bark is beyond dispute") passes; a passive
report of speech in the clip ("it is said that the bridge is closed") is taken for a leak.
"""

from __future__ import annotations

import re

from avrt.answers import split_trace
from avrt.generate.gates.case import Case, mask_quotes, plain, sentences, stems
from avrt.generate.gates.leak_answers import ANSWERS, TASK
from avrt.generate.gates.leak_pattern import mark_letters
from avrt.generate.gates.leak_sources import HEARSAY, SOURCES

__all__ = ["find_leak"]

_BREAKS = re.compile(r"[\[\]{}/|–—]|\((?![A-H]\))")
_TAG = re.compile(r"</?(?:think|answer)>", re.IGNORECASE)
GROUPS = (*ANSWERS, *TASK, *SOURCES, *HEARSAY)


def find_leak(case: Case) -> str | None:
    """The kind of leak, the words and their sentence; None when there is none."""
    for one in sentences(_BREAKS.sub(" ", _whole(case))):
        sentence = f" {mark_letters(one)}"  # patterns begin at a space, which is found fast
        found = set(stems(sentence))
        if "§" in sentence:
            found.add("§")
        for group in GROUPS:
            if group.anchors.isdisjoint(found):
                continue
            for pattern in group.patterns:
                for match in pattern.finditer(sentence):
                    if group.innocent is None or not group.innocent(match, sentence, case):
                        return f"{group.kind}: {match[0].strip(' ,')!r} in: {one[:160]}"
    return None


def _whole(case: Case) -> str:
    """The thought, and of a malformed text all of it: a leak may stand outside of the tags."""
    if split_trace(case.text):
        return case.own_text
    return mask_quotes(plain(_TAG.sub("\n", case.text)))
