"""Gate `leak`: the trace lets on that the answer was given, or talks about its sources.

The merger reads analyses of the clip and the right answer, but is to write as one who sees and
hears the clip. Four kinds of talk are found, each by groups of patterns (leak_pattern.py) over
classes of words (leak_words.py):

* answer: a given, expected or marked answer; the answer as a premise or as something to justify;
* told: "we are told", the prompt, the task;
* source: descriptions, analyses, traces, agents, "both teachers", "the information provided";
* hearsay: reports without a speaker in the clip: "is reported to", "described as", "the mention
  of".

Innocent is what belongs to the clip (leak_context.py): speech in quotation marks, texts on a screen
or a sign, what somebody in the clip says or gives, and people and things (a teacher, a model, a
report) that a teacher's description or the question names too.

Limits: English only. Of leaks in words that the rules have not met, one in four passes
(docs/generation.md). A passive
report of speech in the clip ("it is said that the bridge is closed") is taken for a leak.
"""

from __future__ import annotations

import re

from avrt.answers import split_trace
from avrt.generate.gates.case import Case, mask_quotes, plain, sentences
from avrt.generate.gates.leak_answers import ANSWERS
from avrt.generate.gates.leak_hearsay import HEARSAY
from avrt.generate.gates.leak_pattern import Index, normalise
from avrt.generate.gates.leak_sources import SOURCES
from avrt.generate.gates.leak_task import TASK
from avrt.generate.gates.leak_writers import WRITERS

__all__ = ["find_leak"]

_TAG = re.compile(r"</?(?:think|answer)>", re.IGNORECASE)
_INDEX = Index((*ANSWERS, *TASK, *SOURCES, *WRITERS, *HEARSAY))


def find_leak(case: Case) -> str | None:
    """The kind of leak, the words and their sentence; None when there is none."""
    for one in sentences(_whole(case)):
        sentence = normalise(one)
        for match, group in _INDEX.matches(sentence):
            if group.innocent is None or not group.innocent(match, sentence, case):
                return f"{group.kind}: {match[0].strip(' ,')!r} in: {one[:160]}"
    return None


def _whole(case: Case) -> str:
    """The thought, and of a malformed text all of it: a leak may stand outside of the tags."""
    if split_trace(case.text):
        return case.own_text
    return mask_quotes(plain(_TAG.sub("\n", case.text)))
