"""The paper's tables as they are laid out: their columns, their rows of published models, and the
states of the paper that have them. Nothing is read.

The decision to question: v1's table by difficulty stands apart and is printed on request alone,
since its accuracies do not average to v1's own totals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from avrt.config.baselines import State, baselines

__all__ = ["FAULTY", "TABLES", "Column", "PaperTable"]


@dataclass(frozen=True)
class Column:
    """The subject of a column."""

    title: str
    benchmark: str
    """As in `published.yaml`."""
    given: str | None
    """None: the modality, or both, that the model of the row takes."""
    difficulty: str | None = None


@dataclass(frozen=True)
class PaperTable:
    """One of the paper's tables."""

    number: int | None
    """In the first version; None: it has no such table."""
    name: str
    caption: str
    columns: Sequence[Column]
    published: Sequence[str]
    """Rows: published models."""
    sources: Sequence[str]
    """Whose figures are shown."""
    states: Sequence[State]
    """The states of the paper that have it."""
    notes: Sequence[str] = ()
    takes_others: bool = True
    """Whether models of the run without a published counterpart have rows."""

    @property
    def file(self) -> str:
        """Its name as a file, without ending."""
        return f"table{self.number}-{self.name}" if self.number else f"table-{self.name}"

    @property
    def title(self) -> str:
        """Its caption with its number."""
        return f"Table {self.number}. {self.caption}" if self.number else self.caption


_ABLATIONS = ("merger", "traces")
_BY_DIFFICULTY = tuple(
    Column(level, "omnibench", "av", level) for level in ("easy", "medium", "hard")
)
TABLES = (
    PaperTable(
        3,
        "main-results",
        "Main results by benchmark; one-modality teachers with what they take",
        (
            Column("Daily-Omni", "daily_omni", None),
            Column("OmniBench", "omnibench", None),
            Column("AVQA", "avqa", None),
            Column("MMAR", "mmar", None),
            Column("Video-MME", "video_mme", None),
            Column("Riva-S", "rivabench_standup", None),
            Column("Riva-A", "rivabench_academic", None),
            Column("MMAU", "mmau", None),
        ),
        tuple(
            name for name in baselines() if name != "avrt-3b-rl" and not name.startswith(_ABLATIONS)
        ),
        ("published", "reproduced", "v1", "v2", "eccv"),
        ("v1", "v2", "eccv"),
    ),
    PaperTable(
        4,
        "stages-by-modality",
        "Stages of training by modality on OmniBench",
        (
            Column("Text", "omnibench", "none"),
            *(Column(given.upper(), "omnibench", given) for given in ("a", "v", "av")),
        ),
        ("qwen2.5-omni-3b", "avrt-3b-rl", "avrt-3b"),
        ("reproduced", "v1"),
        ("v1",),
    ),
    PaperTable(
        5,
        "mergers",
        "Which model merged the traces, on OmniBench with sound and picture",
        (Column("OmniBench", "omnibench", "av"),),
        ("merger-gemma-3-12b", "merger-qwen2.5-14b"),
        ("v1",),
        ("v1",),
        takes_others=False,
    ),
    PaperTable(
        None,
        "traces",
        "Whose traces the student was trained on, on OmniBench with sound and picture",
        (Column("OmniBench", "omnibench", "av"),),
        ("traces-audio", "traces-vision", "traces-both"),
        ("v2",),
        ("v2",),
        takes_others=False,
    ),
    PaperTable(
        6,
        "difficulty",
        "OmniBench by difficulty: both teachers right (easy), one (medium), none (hard)",
        _BY_DIFFICULTY,
        ("qwen2.5-omni-3b", "avrt-3b"),
        ("v2",),
        ("v2",),
        (
            "Published counts: 64 easy, 456 medium, 619 hard, together 1,139 of 1,142 items.",
            "v1's figures by difficulty do not average to its totals and are not shown.",
        ),
    ),
)
FAULTY = PaperTable(
    6,
    "difficulty-v1",
    "OmniBench by difficulty, beside the first version",
    _BY_DIFFICULTY,
    ("qwen2.5-omni-3b", "avrt-3b-rl", "avrt-3b"),
    ("v1",),
    ("v1",),
    (
        "Fault of v1: its accuracies by difficulty do not average to its own totals: no target.",
        "Its counts (64 easy, 456 medium, 619 hard) add up to 1,139 of 1,142 items.",
        "Its figures are not recorded in published.yaml, so their columns stay empty.",
    ),
)
"""The first version's table 6."""
