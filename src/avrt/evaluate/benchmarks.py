"""Every benchmark that AVRT evaluates on: its items, its authors' questions and their rule.

The entry of a benchmark has the name of its `data.format`; `avrt list benchmarks` prints them. How
the annotations are read is in `avrt.datasets`, the authors' rules are in `official.py`, their
prompts in `prompts/official/`.
"""

from __future__ import annotations

import difflib
import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from avrt.config import BenchmarkConfig, DataConfig, GivenMedia, MediaConfig
from avrt.datasets import FORMATS, annotation_path
from avrt.datasets.rows import folded, same_options
from avrt.errors import ConfigError
from avrt.evaluate import official
from avrt.evaluate.official import Official
from avrt.prompts import format_options, load_prompt
from avrt.types import LETTERS, BenchmarkItem, Modality

__all__ = [
    "BENCHMARKS",
    "Benchmark",
    "Rule",
    "annotation_digest",
    "markdown_table",
    "media_of",
    "notes",
    "official_prompt",
    "render",
    "render_all",
]

Rule = Callable[[str | None, BenchmarkItem], Official]
"""An authors' verdict on a whole reply; None is a call that failed."""


@dataclass(frozen=True)
class Benchmark:
    """The facts about a benchmark."""

    title: str
    groups: tuple[str, ...]
    """The keys of `BenchmarkItem.groups`, by which its accuracies are broken down."""
    n_items: int | None
    """Questions of the published set; None where sources disagree or the set is the user's."""
    version: str
    modalities: tuple[Modality, ...]
    """The media that its items have."""
    rule: str
    """The authors' rule in a few words."""
    official: Rule
    """The authors' rule as it is reported."""
    licence: str
    media: str
    """Where media lie below the root, and how they get there."""
    given: GivenMedia = field(default_factory=GivenMedia)
    """What models get of the media, where `eval.benchmarks.NAME.media` does not say otherwise."""
    given_source: str = "the set is your own"
    """Where these figures are published."""
    hub: str | None = None
    """Dataset on the Hugging Face Hub."""
    prompt: str = "student"
    """Packaged prompt with the authors' wording; AVRT's own where they publish none."""
    options: Callable[[BenchmarkItem], str] = lambda item: format_options(item.sample.options)
    """How the authors print the options."""
    variants: Mapping[str, Rule] = field(default_factory=dict)
    """Other readings of the authors' rule, reported beside it."""
    digests: Mapping[str, str] = field(default_factory=dict)
    """Version by sha256 of the annotation file, where AVRT's authors have seen the file."""


def official_prompt(
    benchmark: Benchmark, item: BenchmarkItem, modality: Modality = "av"
) -> tuple[str | None, str]:
    """System and user text as the benchmark's authors ask.

    Raises:
        ConfigError: the prompt file uses a placeholder that benchmarks have no value for.
    """
    seen = "image" if item.sample.image else "video"
    media = {"a": "audio", "v": seen, "av": f"{seen} and audio"}.get(modality, "options")
    template = load_prompt(benchmark.prompt)
    return template.fill(
        question=item.sample.question, options=benchmark.options(item), media=media
    )


def media_of(data: BenchmarkConfig, media: MediaConfig) -> MediaConfig:
    """What models get of a set's media: as configured for it, else as its authors do, else as
    `media` says.
    """
    return data.media.over(BENCHMARKS[data.format].given.over(media))


def annotation_digest(data: DataConfig) -> str:
    """sha256 of the annotation file: what tells versions of one name apart.

    Raises:
        ConfigError: there is no such file.
    """
    return hashlib.sha256(annotation_path(data).read_bytes()).hexdigest()


def notes(data: DataConfig, items: Sequence[BenchmarkItem]) -> list[str]:
    """Notes for readers of a result: how these items differ from the published set."""
    benchmark = BENCHMARKS[data.format]
    lines: list[str] = []
    if data.sample is not None:
        lines.append(f"a sample of {len(items)} questions of the set, by a hash of their ids")
    elif benchmark.n_items not in (None, len(items)) and data.limit is None:
        difference = len(items) - benchmark.n_items
        more = "more" if difference > 0 else "fewer"
        lines.append(
            f"{len(items)} items, {abs(difference)} {more} than the {benchmark.n_items} of "
            f"{benchmark.title} ({benchmark.version}): another version or part of it"
        )
    elif benchmark.digests and annotation_digest(data) not in benchmark.digests:
        known = ", ".join(benchmark.digests.values())
        lines.append(
            f"{annotation_path(data).name}: as many items, but not the file that AVRT's authors "
            f"know ({known}); figures may not compare"
        )
    samples = [item.sample for item in items]
    alike = [same_options(sample.options) for sample in samples]
    golds = (sample.answer_index in same for sample, same in zip(samples, alike, strict=True))
    blank = (not all(map(folded, sample.options)) for sample in samples)
    asked = [(s.video_id, *map(folded, (s.question, *s.options))) for s in samples]
    times = Counter(asked)
    for peculiarity, n in (
        ("list an option twice", sum(map(bool, alike))),
        ("list the gold option twice, so that either letter is right", sum(golds)),
        ("list an empty option", sum(blank)),
        ("ask what another one asks of the same clip", sum(times[one] > 1 for one in asked)),
    ):
        if n:
            lines.append(f"{n} items {peculiarity}, as published")
    return lines


def render_all() -> str:
    """All benchmarks as a table for the terminal."""
    rows = [("FORMAT", "BENCHMARK", "ITEMS", "GIVEN", "BROKEN DOWN BY")]
    for name, benchmark in BENCHMARKS.items():
        given, groups = ", ".join(benchmark.modalities).upper(), ", ".join(benchmark.groups)
        rows.append((name, benchmark.title, _count(benchmark), given, groups))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return "\n".join(
        "  ".join([*(cell.ljust(w) for cell, w in zip(row, widths, strict=False)), row[4]])
        for row in rows
    )


def render(name: str) -> str:
    """The facts about one benchmark.

    Raises:
        ConfigError: no benchmark has that name.
    """
    if name not in BENCHMARKS:
        close = difflib.get_close_matches(name.lower(), BENCHMARKS, n=1)
        meant = f"did you mean {close[0]}? " if close else ""
        raise ConfigError(f"no benchmark {name!r}; {meant}`avrt list benchmarks` lists all")
    benchmark = BENCHMARKS[name]
    files = " or ".join(FORMATS[name].files)
    parts = {
        "items": f"{_count(benchmark)} ({benchmark.version})",
        "file": f"{files}, below the root",
        "media": benchmark.media,
        "hub": benchmark.hub or "none",
        "given": ", ".join(benchmark.modalities).upper(),
        "as": f"{_given_text(benchmark.given)}: {benchmark.given_source}",
        "broken down by": ", ".join(benchmark.groups),
        "prompt": benchmark.prompt,
        "official rule": benchmark.rule,
        "beside it": ", ".join(benchmark.variants) or "none",
        "licence": benchmark.licence,
    }
    head = (
        f"{benchmark.title}\nuse it with eval.benchmarks.{name}='{{format: {name}, root: FOLDER}}'"
    )
    return "\n".join([head, "", *(f"{name + ':':<16}{text}" for name, text in parts.items())])


def markdown_table() -> str:
    """The table of docs/evaluation.md."""
    head = ("`format`", "benchmark", "items", "given", "groups", "official rule")
    lines = [" | ".join(head), " | ".join(["---"] * len(head))]
    for name, benchmark in BENCHMARKS.items():
        given, groups = ", ".join(benchmark.modalities).upper(), ", ".join(benchmark.groups)
        cells = (f"`{name}`", benchmark.title, _count(benchmark), given, groups, benchmark.rule)
        lines.append(" | ".join(cells))
    return "\n".join(f"| {line} |" for line in lines)


def _given_text(given: GivenMedia) -> str:
    settings = [f"{key}={_shown(value)}" for key, value in given.model_dump().items()]
    return ", ".join(settings) or "as `media` says"


def _shown(value: float | None) -> str:
    return "null" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _count(benchmark: Benchmark) -> str:
    return f"{benchmark.n_items:,}" if benchmark.n_items else "counted"


def _published(column: str) -> Callable[[BenchmarkItem], str]:
    """The options in a column as its authors wrote them, one a line."""
    return lambda item: "\n".join(map(str, item.row[column]))


def _with_colons(item: BenchmarkItem) -> str:
    lettered = zip(LETTERS, item.sample.options, strict=False)
    return ", ".join(f"{name}: {option}" for name, option in lettered)


_QWEN_FRAME = 768 * 28**2
"""Most pixels of a video's frame in Qwen2.5-Omni's loader (qwen_omni_utils, VIDEO_MAX_PIXELS)."""
_QWEN_PICTURE = 16384 * 28**2
"""Most pixels of a picture there (MAX_PIXELS)."""
_QWEN_SOUND_S = 300.0
"""Longest sound of Qwen2.5-Omni's feature extractor (preprocessor_config.json, chunk_length)."""
_WHOLE_SOUND = GivenMedia(max_audio_s=None)


def _frames(n_frames: int, fps: float | None, max_audio_s: float | None) -> GivenMedia:
    return GivenMedia(n_frames=n_frames, fps=fps, max_pixels=_QWEN_FRAME, max_audio_s=max_audio_s)


OWN_GROUPS = ("question_type", "relation")
_RIVABENCH: dict[str, Any] = {
    "version": "2025",
    "modalities": ("a", "v", "av"),
    "rule": "letter of the gold index",
    "official": official.letter,
    "licence": "see its page on the Hub; videos are YouTube's",
    "media": "videos/NAME.mp4 as the rows name them, and audios/NAME.wav where they name sounds",
    "given": _frames(60, 2.0, _QWEN_SOUND_S),
    "given_source": "2 frames per second, 60 at most (video-SALMONN-o1, run_inference.sh: FPS, "
    "MAX_TIME); sound up to the length that Qwen2.5-Omni hears",
    "hub": "BrianatCambridge/RivaBench",
    "prompt": "official/rivabench",
    "options": _published("options"),
}
"""What its two parts share."""
BENCHMARKS: dict[str, Benchmark] = {
    "omnibench": Benchmark(
        title="OmniBench",
        groups=("task_type", "audio_type"),
        n_items=1142,
        version="2024-08-17",
        modalities=("a", "v", "av"),
        rule='letters as "(A)", "A " anywhere or "A.", then option texts; gold text likewise',
        official=official.omnibench,
        variants={"gold_by_index": official.omnibench_gold_by_index},
        licence="see its page on the Hub; pictures and sounds belong to their owners",
        media="mm_data/image and mm_data/audio, in the authors' repository; three sounds cannot be "
        "decoded",
        given=GivenMedia(max_pixels=_QWEN_PICTURE, max_audio_s=None),
        given_source="whole files (inference/demo_api_call.py); pictures up to the size that "
        "Qwen2.5-Omni's loader takes",
        hub="m-a-p/OmniBench",
        prompt="official/omnibench",
        options=lambda item: str(list(item.row["options"])),
    ),
    "daily_omni": Benchmark(
        title="Daily-Omni",
        groups=("task_type", "duration", "category"),
        n_items=1197,
        version="2025",
        modalities=("a", "v", "av"),
        rule="first letter of the reply; failures leave the denominator",
        official=official.daily_omni,
        licence="code GPL-3.0; questions: see its page on the Hub; videos are YouTube's",
        media="Videos/ID/ID_video.mp4 and ID_audio.wav, from Videos.tar on the Hub",
        given=_frames(768, 2.0, None),
        given_source="the defaults of Qwen2.5-Omni's loader "
        "(test_model/Qwen2.5-Omni/testmodel.py with qwen_omni_utils)",
        hub="liarliar/Daily-Omni",
        prompt="official/daily_omni",
        options=lambda item: str(list(item.row["Choice"])),
        digests={"306ade96c4ef27e200e59c4fcdc7904573bfbbe48d97b1520fcec6d1dc6f9d4a": "of 2025"},
    ),
    "avqa": Benchmark(
        title="AVQA (split val)",
        groups=OWN_GROUPS,
        n_items=None,
        version="2022; sources disagree on the count (17,208 in val)",
        modalities=("a", "v", "av"),
        rule="letter of the gold index",
        official=official.letter,
        licence="not stated; clips are VGG-Sound's",
        media="videos/NAME.mp4, VGG-Sound clips, which are not served any more",
        given=_WHOLE_SOUND,
        given_source="whole clips, of ten seconds; frames as in training",
    ),
    "mmar": Benchmark(
        title="MMAR",
        groups=("modality", "category", "sub_category", "language"),
        n_items=1000,
        version="with rubrics, February 2026",
        modalities=("a",),
        rule="sets of words; the letter of a reply becomes its option's text before",
        official=official.token_sets_of_option,
        variants={"raw": official.token_sets},
        licence="see its page on the Hub; sounds belong to their owners",
        media="audio/ID.wav, from the archive on the Hub",
        given=_WHOLE_SOUND,
        given_source="whole files, of up to a minute",
        hub="BoJack/MMAR",
        prompt="official/mmar",
        options=_published("choices"),
        digests={
            "1c9a343e7bebf1037482b935c54eacd43cc63df7b2c668724b5560caf1f84fad": "of February 2026"
        },
    ),
    "mmau": Benchmark(
        title="MMAU test-mini",
        groups=("task", "category", "sub_category", "difficulty"),
        n_items=1000,
        version="v05.15.25; before it a quarter of the questions differs",
        modalities=("a",),
        rule="sets of words; the letter of a reply becomes its option's text before",
        official=official.token_sets_of_option,
        variants={"raw": official.token_sets},
        licence="code Apache-2.0; sounds belong to their owners",
        media="test-mini-audios/ID.wav, from the authors' archive",
        given=_WHOLE_SOUND,
        given_source="whole files",
        hub="gamma-lab-umd/MMAU-test-mini",
        prompt="official/mmar",
        options=_published("choices"),
    ),
    "video_holmes": Benchmark(
        title="Video-Holmes",
        groups=("task_type",),
        n_items=1837,
        version="2025-05-28",
        modalities=("a", "v", "av"),
        rule='in the last <answer>: "A ", "A:" or "[A", then any capital, in the order A to F',
        official=official.video_holmes,
        licence="Apache-2.0, for academic purposes; films belong to their owners",
        media="videos/ID.mp4, from videos.zip on the Hub",
        given=_frames(32, None, _QWEN_SOUND_S),
        given_source="32 frames (evaluate.py, num_segments); sound up to the length that "
        "Qwen2.5-Omni hears",
        hub="TencentARC/Video-Holmes",
        prompt="official/video_holmes",
        options=_with_colons,
    ),
    "worldsense": Benchmark(
        title="WorldSense",
        groups=("task_domain", "task_type", "domain", "duration", "audio_class"),
        n_items=3172,
        version="2025",
        modalities=("a", "v", "av"),
        rule="known phrases cut, then the first of A, B, C, D anywhere (VLMEvalKit)",
        official=official.worldsense,
        licence="see its page on the Hub; videos are YouTube's",
        media="videos/NAME.mp4, from the zip files on the Hub",
        given=_frames(32, None, _QWEN_SOUND_S),
        given_source="32 frames (VLMEvalKit, WorldSense_32frame); sound up to the length that "
        "Qwen2.5-Omni hears",
        hub="honglyhly/WorldSense",
        prompt="official/worldsense",
        options=_published("candidates"),
    ),
    "omnivideobench": Benchmark(
        title="OmniVideoBench",
        groups=("task_type", "audio_type", "video_type", "duration"),
        n_items=1000,
        version="2025",
        modalities=("a", "v", "av"),
        rule="the reply without punctuation is the letter; failures leave the denominator",
        official=official.omnivideobench,
        licence="CC-BY-NC-SA-4.0, access on request",
        media="videos/NAME.mp4, on request",
        given=_frames(120, None, _QWEN_SOUND_S),
        given_source="120 frames (utils/vision_process.py); sound up to the length that "
        "Qwen2.5-Omni hears",
        hub="NJU-LINK/OmniVideoBench",
        prompt="official/omnivideobench",
        options=_published("options"),
    ),
    "video_mme": Benchmark(
        title="Video-MME, without subtitles",
        groups=("duration", "domain", "sub_category", "task_type"),
        n_items=2700,
        version="2024-07-04 on the Hub",
        modalities=("a", "v", "av"),
        rule="known phrases cut, then the first of A, B, C, D; without one it is not counted",
        official=official.video_mme,
        variants={"of_all": official.video_mme_of_all},
        licence="academic research only, not to be passed on; videos belong to their owners",
        media="data/YOUTUBE_ID.mp4, from the zip files on the Hub",
        given=GivenMedia(n_frames=64, fps=None, max_pixels=448**2, max_audio_s=_QWEN_SOUND_S),
        given_source="64 frames (VLMEvalKit, Video-MME_64frame) of at most 448 x 448 pixels (its "
        "Video-MME-v2_64frame_resize); sound up to the length that Qwen2.5-Omni hears",
        hub="lmms-lab/Video-MME",
        prompt="official/video_mme",
        options=_published("options"),
    ),
    "rivabench_standup": Benchmark(
        title="RivaBench, part StandUp",
        groups=("part",),
        n_items=2128,
        **_RIVABENCH,
    ),
    "rivabench_academic": Benchmark(
        title="RivaBench, part Academic",
        groups=("part",),
        n_items=1912,
        **_RIVABENCH,
    ),
    "avhbench": Benchmark(
        title="AVHBench, questions of yes or no",
        groups=("task",),
        n_items=None,
        version="QA.json of 2025; sources disagree on the count (5,816 in the paper)",
        modalities=("a", "v", "av"),
        rule="the gold word, yes or no, anywhere in the reply (AVCD); its letter becomes the word "
        "before",
        official=official.avhbench_of_option,
        variants={"raw": official.avhbench},
        licence="not stated; videos are VALOR's and AudioCaps'",
        media="videos/ID.mp4, from the authors' archive",
        given=_WHOLE_SOUND,
        given_source="whole clips, of ten seconds; frames as in training",
        prompt="official/avhbench",
        options=lambda _: "yes or no",
    ),
    "parquet": Benchmark(
        title="AVRT's own files, such as the world's sets",
        groups=OWN_GROUPS,
        n_items=None,
        version="your own",
        modalities=("a", "v", "av"),
        rule="letter of the gold index",
        official=official.letter,
        licence="your own",
        media="as the columns video, image and audio say",
    ),
    "webdataset": Benchmark(
        title="WebDataset shards of your own, as `avrt export --to webdataset` writes them",
        groups=OWN_GROUPS,
        n_items=None,
        version="your own",
        modalities=("a", "v", "av"),
        rule="letter of the gold index",
        official=official.letter,
        licence="your own",
        media="the files beside each row in its shard",
    ),
}
"""By `data.format`."""
assert BENCHMARKS.keys() == FORMATS.keys()
