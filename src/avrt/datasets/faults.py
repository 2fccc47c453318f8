"""Faults of a sample, the modalities that they cost, and remedies.

Faults of its options are here too, so that one table names whatever keeps a question from being
asked, and no later stage has to look. A fault of its media is a class of `MEDIA_ERROR_CLASSES`,
when the file cannot be used or lacks picture or sound, or a note of the probe, when the file can be
used but is unusual. `PrepareConfig` sets which modalities each fault takes from a sample: none, one
or both.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from avrt.config import PrepareConfig
from avrt.datasets.rows import folded, same_options
from avrt.errors import MEDIA_ERROR_CLASSES
from avrt.media import MediaInfo
from avrt.types import Sample

__all__ = ["REMEDIES", "Fault", "find_faults", "judge", "policy_on", "reason_of"]

REMEDIES = {
    "missing": "download the file, or correct data.root or the annotation",
    "permission": "let this user read the file",
    "not_media": "the column `reason` says what the file is; often it must be downloaded again",
    "unsupported": "convert the file as the column `reason` says",
    "undecodable": "download the file again, or convert it; the column `reason` says what is wrong",
    "truncated": "download the file again; media.damaged=use takes the part of a clip that exists",
    "damaged": "download the file again; media.damaged=use takes the part that decodes",
    "no_video": "prepare.no_video=audio_only still asks the audio teacher",
    "no_audio": "prepare.no_audio=vision_only still asks the vision teacher",
    "too_large": "scale it down, or raise media.max_file_mb or media.max_source_pixels",
    "too_long": "cut out the clip in question, or raise media.max_clip_s",
    "timeout": "prepare again; if the fault remains, check the disk or raise media.timeout_s",
    "killed": "its process was killed, most likely for lack of memory; use fewer media.workers",
    "unreadable": "check the disk, memory and limits as the column `reason` says, prepare again",
    "opposite_phase": "media.opposite_phase=loudest_channel makes it heard; "
    "prepare.opposite_phase=vision_only or =drop leaves the sound out",
    "several_frames": "only the first frame is used; convert an animation to a video",
    "silent": "listen to it; prepare.silent=vision_only or =drop leaves the sound out",
    "short_audio": "listen to it; prepare.short_audio=vision_only or =drop leaves the sound out",
    "late_audio": "models get it undelayed; prepare.late_audio=vision_only leaves the sound out",
    "still": "look at it; prepare.still=audio_only or =drop leaves the picture out",
    "repeated_gold": "make the options differ, so that one letter is right",
    "blank_option": "give every option a text, or take the option out",
    "repeated_option": "the wrong options read alike; make them differ",
}
"""The remedy of each fault."""

HALF_OF_NOTE = {
    "still": "v",
    **dict.fromkeys(("silent", "opposite_phase", "short_audio", "late_audio"), "a"),
}
"""The modality that a note with a policy is about. Files with another note are used in any case."""
LOST = {"keep": "", "vision_only": "a", "audio_only": "v", "drop": "av", "fail": "av"}
"""The modalities that each policy takes from a sample, the mildest policy first."""


@dataclass(frozen=True)
class Fault:
    """A fault of a sample."""

    name: str
    path: str
    """The file, relative to the dataset's folder; the annotation when it is about no file."""
    detail: str
    policy: str
    """The policy that the settings give the fault: a key of `LOST`."""


def policy_on(name: str, policies: PrepareConfig) -> str:
    """Give the policy that the settings have for a fault: a key of `LOST`."""
    if name == "repeated_option":
        return "keep"
    own = name in HALF_OF_NOTE or name in ("no_video", "no_audio")
    return getattr(policies, name if own else "broken")


def find_faults(
    sample: Sample, infos: Mapping[str, MediaInfo], policies: PrepareConfig
) -> list[Fault]:
    """List all faults, the most costly first; `infos` has the paths that the sample names."""
    halves = {"v": sample.picture_path, "a": sample.sound_path}
    files = {half: infos[path] for half, path in halves.items() if path is not None}
    details = [*_broken(files), *_absent(sample, files), *_odd(files)]
    details += _unclear(sample)
    faults = [Fault(*fault, policy_on(fault[0], policies)) for fault in details]
    faults += [Fault(note, path, "still used", "keep") for note, path in _let_in(files)]
    return sorted(faults, key=lambda fault: list(LOST).index(fault.policy), reverse=True)


def judge(faults: Sequence[Fault]) -> dict[str, str | None]:
    """Give the columns with a sample's usable modalities, and the fault that decided them."""
    lost = {half for fault in faults for half in LOST[fault.policy]}
    usable = "".join(half for half in "av" if half not in lost) or None
    if not lost:
        return {"usable": usable, "status": "ok", "reason": None}
    worst = faults[0]
    return {"usable": usable, "status": worst.name, "reason": f"{worst.path}: {worst.detail}"}


def reason_of(row: Mapping[str, Any]) -> str | None:
    """Give the count's name for a prepared row that no stage uses; None for a row in use."""
    if row["usable"] is not None:
        return None
    kind = "failed" if row["status"] in MEDIA_ERROR_CLASSES else "dropped"
    return f"{kind}/{row['status']}"


def _unclear(sample: Sample) -> Iterator[tuple[str, str, str]]:
    """What is wrong with the options: no reply could be scored fairly, or a letter is wasted."""
    same = same_options(sample.options)
    if not all(map(folded, sample.options)):
        yield "blank_option", sample.source, "an option is blank"
    elif sample.answer_index in same:
        yield "repeated_gold", sample.source, "another option reads like the answer"
    elif same:
        yield "repeated_option", sample.source, "two options read alike"


def _broken(files: Mapping[str, MediaInfo]) -> Iterator[tuple[str, str, str]]:
    for path, info in {info.path: info for info in files.values()}.items():
        if info.status != "ok":
            yield info.status, path, info.reason or ""


def _absent(sample: Sample, files: Mapping[str, MediaInfo]) -> Iterator[tuple[str, str, str]]:
    picture, sound = files.get("v"), files.get("a")
    if picture is None or (picture.status == "ok" and picture.video_codec is None):
        path = sample.picture_path or sample.source
        yield "no_video", path, "has no picture; usable for sound only"
    if sound is None or (sound.status == "ok" and sound.audio_codec is None):
        path = sample.sound_path or sample.source
        yield "no_audio", path, "has no sound; usable for vision only"


def _odd(files: Mapping[str, MediaInfo]) -> Iterator[tuple[str, str, str]]:
    for half, info in files.items():
        for note in info.notes:
            if HALF_OF_NOTE.get(note) == half:
                yield note, info.path, _describe(note, info)


def _describe(note: str, info: MediaInfo) -> str:
    if note == "opposite_phase":
        return f"opposite phase, {info.mono_loss_db:g} dB are lost in the mono mix"
    return note.replace("_", " ")


def _let_in(files: Mapping[str, MediaInfo]) -> Iterator[tuple[str, str]]:
    for info in files.values():
        yield from ((note, info.path) for note in info.notes if note not in HALF_OF_NOTE)
