"""Small clips with seeded damage: no crash, no hang, no warning, no error but MediaError."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from avrt.errors import MEDIA_ERROR_CLASSES
from avrt.media import Decoded
from hostile.corpus import encode, tone
from hostile.harness import Worker, read
from hostile.making import AAC, HEVC, LAV1, OPUS, VP8, VP9, X264
from hostile.marker import picture

SEEDS = [*range(2000), 7882, 11753, 12572]
"""The last ones once crashed or hung a reader."""
SETTINGS = {"size_factor": 2, "max_clip_s": 600, "max_source_pixels": 2**22}

VIDEOS = {
    "h264.mp4": f"{X264} -bf 2 -g 6 {AAC}",
    "faststart.mp4": f"{X264} -bf 2 -g 6 {AAC} -movflags +faststart",
    "fragments.mp4": f"{X264} -g 4 {AAC} -movflags +frag_keyframe+empty_moov",
    "hevc.mp4": f"{HEVC}:bframes=3:keyint=6 {AAC}",
    "h264.mkv": f"{X264} -bf 2 {AAC}",
    "h264.ts": f"{X264} -bf 2 -g 6 {AAC}",
    "mpeg4.avi": "-c:v mpeg4 -q:v 3 -bf 2 -c:a libmp3lame",
    "mjpeg.avi": "-c:v mjpeg -q:v 4 -pix_fmt yuvj420p -c:a adpcm_ms",
    "h264.flv": f"{X264} {AAC}",
    "vp8.webm": f"{VP8} -c:a libvorbis",
    "vp9.webm": f"{VP9} {OPUS}",
    "av1.mp4": f"{LAV1} {AAC}",
    "mpeg2.mpg": "-c:v mpeg2video -q:v 4 -bf 2 -c:a mp2",
    "theora.ogg": "-c:v libtheora -q:v 5 -c:a libvorbis",
    "wmv.asf": "-c:v wmv2 -q:v 4 -c:a wmav2",
}
SOUNDS = {
    "pcm.wav": "-c:a pcm_s16le",
    "float.wav": "-c:a pcm_f32le",
    "mp3.mp3": "-c:a libmp3lame",
    "flac.flac": "-c:a flac -sample_fmt s16",
    "aac.aac": f"{AAC} -f adts",
    "aac.m4a": AAC,
    "opus.opus": "-c:a libopus",
    "aiff.aiff": "-c:a pcm_s24be",
}
PICTURES = {"png.png": "PNG", "jpeg.jpg": "JPEG", "webp.webp": "WEBP"}


@pytest.fixture(scope="module")
def sources(ffmpeg, tmp_path_factory) -> Path:
    """Folder of small good clips."""
    folder = tmp_path_factory.mktemp("sources")
    sound = tone(seconds=0.5)
    for name, options in VIDEOS.items():
        encode(folder / name, options, numbers=range(12), size=(48, 64), sound=sound)
    for name, options in SOUNDS.items():
        encode(folder / name, options, numbers=(), sound=sound)
    for name, form in PICTURES.items():
        Image.fromarray(picture(300, 48, 64)).save(folder / name, form)
    return folder


@pytest.mark.slow
def test_damaged_files_end_in_a_clip_or_a_media_error(sources):
    with ThreadPoolExecutor(2) as pool:
        workers = [Worker(sources), Worker(sources)]
        halves = [SEEDS[0::2], SEEDS[1::2]]
        found = [*pool.map(run_mutants, workers, halves)]
        for worker in workers:
            worker.close()
    counts, failures = sum((part[0] for part in found), Counter()), found[0][1] + found[1][1]
    assert not failures, "\n".join(failures[:20])
    assert counts.total() == len(SEEDS) * 3
    # Most mutants must get past the check of their structure, or nothing is tested.
    assert counts["read"] > len(SEEDS) / 2


def run_mutants(worker: Worker, seeds: Sequence[int]) -> tuple[Counter[str], list[str]]:
    """How the readings ended, and what went wrong."""
    counts: Counter[str] = Counter()
    failures: list[str] = []
    for seed in seeds:
        try:
            counts.update(worker.call(read_mutant, seed))
        except AssertionError as error:
            failures.append(str(error))
    return counts, failures


def read_mutant(seed: int) -> list[str]:
    """Make and read the mutant of this seed; how its three readings ended."""
    choice = random.Random(seed)
    names = sorted([*VIDEOS, *SOUNDS, *PICTURES])
    content = Path(names[seed % len(names)]).read_bytes()
    for _ in range(choice.randint(1, 3)):
        content = choice.choice(MUTATIONS)(content, choice)
    mutant = Path(f"mutant-{os.getpid()}")
    mutant.write_bytes(content)
    reading = read(mutant, SETTINGS | {"damaged": choice.choice(["refuse", "use"])})
    assert reading.info.status in ("ok", *MEDIA_ERROR_CLASSES)
    for found in (reading.v, reading.a, reading.av):
        check(found)
    if isinstance(reading.av, Decoded):
        assert isinstance(reading.v, Decoded), reading.v
        assert isinstance(reading.a, Decoded), reading.a
        assert np.array_equal(reading.av.frames.pixels, reading.v.frames.pixels)
        assert np.array_equal(reading.av.waveform.samples, reading.a.waveform.samples)
    return [
        "read" if isinstance(found, Decoded) else found
        for found in (reading.v, reading.a, reading.av)
    ]


def check(found: Decoded | str) -> None:
    """What was read is in order, whatever it shows."""
    if isinstance(found, str):
        assert found in MEDIA_ERROR_CLASSES
        return
    if found.frames:
        times_s = found.frames.times_s
        assert found.frames.pixels.dtype == np.uint8
        assert found.frames.pixels.shape[0] == len(times_s) == (1 if found.frames.still else 8)
        assert found.frames.pixels.shape[1] * found.frames.pixels.shape[2] <= 602_112
        assert np.isfinite([*times_s, found.frames.fps]).all()
        assert list(times_s) == sorted(times_s)
        assert found.frames.fps > 0
    if found.waveform:
        assert found.waveform.samples.dtype == np.float32
        assert found.waveform.samples.ndim == 1
        assert 0 < len(found.waveform.samples) <= 160_000
        assert np.abs(found.waveform.samples).max() <= 1


# Mutations


def flip_bits(content: bytes, choice: random.Random) -> bytes:
    edited = bytearray(content)
    for _ in range(choice.randint(1, 20)):
        if edited:
            edited[choice.randrange(len(edited))] ^= 1 << choice.randrange(8)
    return bytes(edited)


def flip_bits_of_the_header(content: bytes, choice: random.Random) -> bytes:
    return flip_bits(content[:300], choice) + content[300:]


def cut_off(content: bytes, choice: random.Random) -> bytes:
    return content[: choice.randint(0, len(content))]


def leave_out(content: bytes, choice: random.Random) -> bytes:
    start, end = block(content, choice)
    return content[:start] + content[end:]


def repeat_block(content: bytes, choice: random.Random) -> bytes:
    start, end = block(content, choice)
    return content[:end] + content[start:]


def zero(content: bytes, choice: random.Random) -> bytes:
    start, end = block(content, choice)
    return content[:start] + bytes(end - start) + content[end:]


def insert(content: bytes, choice: random.Random) -> bytes:
    start, end = block(content, choice)
    return content[:start] + choice.randbytes(end - start) + content[start:]


def swap(content: bytes, choice: random.Random) -> bytes:
    first, second, third = sorted(choice.randint(0, len(content)) for _ in range(3))
    return content[:first] + content[second:third] + content[first:second] + content[third:]


def extreme_number(content: bytes, choice: random.Random) -> bytes:
    start = choice.randint(0, len(content))
    number = choice.choice((b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\1"))
    return content[:start] + number + content[start + 4 :]


def block(content: bytes, choice: random.Random) -> tuple[int, int]:
    """Start and end of a stretch, mostly short."""
    start = choice.randint(0, len(content))
    return start, min(len(content), start + int(choice.expovariate(1 / 200)))


MUTATIONS: list[Callable[[bytes, random.Random], bytes]] = [
    flip_bits,
    flip_bits_of_the_header,
    cut_off,
    leave_out,
    repeat_block,
    zero,
    insert,
    swap,
    extreme_number,
]
