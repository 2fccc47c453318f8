"""Count the tokens of samples by arithmetic, without decoding their clips.

Reads RUN/media.parquet, where `avrt prepare` wrote the size of each picture and the length of each
sound. Files that it does not hold, or that have another size now, are probed in processes, into
the journal of `avrt prepare`. A sample that does not fit is named before the first step, and
samples are ordered by length, in seconds instead of the hours that decoding takes.

The decision to question: the formulas are those of the processors, written again. Tests compare
them with the tokens of every kind of file, and a training compares every clip that it encodes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from avrt.config import MediaConfig
from avrt.datasets import media_paths
from avrt.datasets.probing import probe_files, probe_settings
from avrt.engines.encode import chat_texts
from avrt.errors import EngineError, MediaError
from avrt.media import MediaInfo, count_frames, fit_size, probe
from avrt.media.cache import file_stamp
from avrt.media.processes import map_files
from avrt.runs import fingerprint, manifest_path, read_parquet
from avrt.stores import list_folders, listed_once
from avrt.train.data import PromptEncoder
from avrt.types import Sample

__all__ = ["count_prompt_tokens", "count_tokens", "media_infos", "sound_tokens"]

BATCH = 1000
"""Texts that are tokenised together."""


def count_prompt_tokens(
    run: Path, encoder: PromptEncoder, samples: Sequence[Sample], keep: bool = True
) -> dict[str, int | MediaError]:
    """Count the tokens of each sample's prompt with picture and sound, by sample id.

    A MediaError stands for a sample whose clip lacks one of them or cannot be read. `keep`: as for
    `media_infos`.

    Raises:
        EngineError: the text of a sample holds the placeholder of a medium.
    """
    infos = media_infos(run, encoder.root, samples, encoder.media, keep)
    counts: dict[str, int | MediaError] = {}
    texts = _render(encoder, samples, infos)
    for sample, n_text in zip(samples, count_tokens(encoder.processor, texts), strict=True):
        try:
            n_media = _count_media(encoder, sample, infos)
        except MediaError as error:
            counts[sample.id] = error
        else:
            counts[sample.id] = n_text - 2 + n_media  # without the two placeholders
    return counts


def count_tokens(processor: Any, texts: Iterable[str]) -> Iterator[int]:
    """Count the tokens of each text, many texts at a time."""
    # Without what transformers adds to each row, and without the places of tokens in their text.
    encode, rest = processor.tokenizer.backend_tokenizer.encode_batch_fast, iter(texts)
    while batch := list(islice(rest, BATCH)):
        yield from map(len, encode(batch, add_special_tokens=False))


@listed_once()
def media_infos(
    run: Path, root: Path, samples: Iterable[Sample], media: MediaConfig, keep: bool = True
) -> dict[str, MediaInfo]:
    """Give the probe of each file of the samples, from what `avrt prepare` stored where it can.

    A file that is absent has the status `missing`. With `keep`, new probes go into the journal.
    """
    names = media_paths(samples)
    list_folders(root, names)
    known = _prepared_infos(run, media)
    infos: dict[str, MediaInfo] = {}
    unknown: list[str] = []
    for name in names:
        size_bytes, _ = file_stamp(root / name)
        if size_bytes is None:
            detail = "no such file; download it, or correct the path"
            infos[name] = MediaInfo(name, status="missing", reason=detail)
        elif name in known and known[name].size_bytes == size_bytes and _has_length(known[name]):
            infos[name] = known[name]
        else:
            unknown.append(name)
    if keep and unknown:
        infos |= probe_files(run, root, unknown, media, _has_length)
    elif unknown:
        files = {root / name: name for name in unknown}
        probed = map_files(
            partial(probe, media=media), files, timeout_s=media.timeout_s, workers=media.workers
        )
        with closing(probed):
            infos |= {files[file]: info for file, info in probed if isinstance(info, MediaInfo)}
    return infos


def sound_tokens(processor: Any, n_samples: int) -> int:
    """Count the tokens that a model makes of so many samples at 16 kHz.

    After `_get_feat_extract_output_lengths` of the processors of Qwen2.5-Omni and Qwen3-Omni.
    """
    hop = processor.feature_extractor.hop_length
    name = type(processor).__name__
    if name == "Qwen2_5OmniProcessor":
        n_features = -(-n_samples // hop)  # the sound is padded, so its last window is whole
        return ((n_features - 1) // 2 + 1 - 2) // 2 + 1
    if name == "Qwen3OmniMoeProcessor":
        # 100 features give 13 tokens, the rest goes through three convolutions of stride 2.
        n_whole, rest = divmod(n_samples // hop, 2 * processor.n_window)
        return 13 * n_whole + (((rest - 1) // 2 + 1 - 1) // 2 + 1 - 1) // 2 + 1
    raise EngineError(f"{name} cannot be trained: AVRT does not know how it counts sound")


def _render(
    encoder: PromptEncoder, samples: Iterable[Sample], infos: Mapping[str, MediaInfo]
) -> Iterator[str]:
    """Render the prompts of samples, many at a time."""
    processor, rest = encoder.processor, iter(samples)
    while batch := list(islice(rest, BATCH)):
        prompts = []
        for sample in batch:
            picture = infos.get(sample.picture_path or "")
            kind = "image" if picture and picture.is_picture else "video"
            system, text = encoder.texts(sample)
            prompts.append(((kind, "audio"), text, system))
        rendered = chat_texts(processor, prompts)
        for sample, (kinds, _, _), text in zip(batch, prompts, rendered, strict=True):
            _require_placeholders(processor, sample, kinds, text)
        yield from rendered


def _require_placeholders(
    processor: Any, sample: Sample, kinds: Sequence[str], rendered: str
) -> None:
    """Refuse a prompt whose own text holds what stands for a medium."""
    for name in ("image", "video", "audio"):
        token = getattr(processor, f"{name}_token")
        if rendered.count(token) != (name in kinds):
            raise EngineError(
                f"{sample.source or sample.id}: the text of the prompt holds {token}, which stands "
                f"for {name} to {type(processor).__name__}; remove it from the question"
            )


def _count_media(encoder: PromptEncoder, sample: Sample, infos: Mapping[str, MediaInfo]) -> int:
    picture, sound = infos.get(sample.picture_path or ""), infos.get(sample.sound_path or "")
    for info in (picture, sound):
        if info and info.status != "ok":
            raise MediaError(info.status, info.path, info.reason or "")
    if picture is None or picture.video_codec is None:
        raise MediaError("no_video", sample.picture_path or sample.source, "has no video track")
    if sound is None or sound.audio_codec is None or sound.n_audio_samples is None:
        raise MediaError("no_audio", sample.sound_path or sample.source, "has no sound track")
    n_sound = sound_tokens(encoder.processor, sound.n_audio_samples)
    if n_sound < 1:
        detail = f"its {sound.n_audio_samples} samples are too short to be heard"
        raise MediaError("no_audio", sound.path, detail)
    return _picture_tokens(encoder.processor, picture, encoder.media) + n_sound


def _picture_tokens(processor: Any, info: MediaInfo, media: MediaConfig) -> int:
    assert info.shown_height
    assert info.shown_width
    height, width = fit_size(
        info.shown_height, info.shown_width, media.max_pixels, media.size_factor
    )
    owner = processor.image_processor if info.is_picture else processor.video_processor
    n_frames = count_frames(info.n_frames or 0, info.fps, media)
    n_grids = 1 if info.is_picture else -(-n_frames // owner.temporal_patch_size)
    rows, columns = height // owner.patch_size, width // owner.patch_size
    return n_grids * rows * columns // owner.merge_size**2


def _prepared_infos(run: Path, media: MediaConfig) -> dict[str, MediaInfo]:
    """The rows of media.parquet, if `avrt prepare` read the files with the same settings."""
    table, manifest = run / "media.parquet", manifest_path(run, "prepare")
    if not table.is_file() or not manifest.is_file():
        return {}
    settings = json.loads(manifest.read_text(encoding="utf-8"))["settings"]
    if fingerprint(settings.get("media")) != fingerprint(probe_settings(media)):
        return {}
    infos: dict[str, MediaInfo] = {}
    for row in read_parquet(table):
        row["notes"] = tuple(row["notes"])
        infos[row["path"]] = MediaInfo(**row)
    return infos


def _has_length(info: MediaInfo) -> bool:
    """False for a probe of an earlier version, without the length of its sound."""
    return info.audio_codec is None or info.n_audio_samples is not None
