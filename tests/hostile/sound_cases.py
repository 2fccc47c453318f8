"""Sound files: codecs, rates, sample formats, and headers that do not tell the truth."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from hostile.corpus import ALL, CUT, Case, Sound, encode, tone
from hostile.making import AAC, LAME, X264, clip


def audio(
    name: str,
    options: str = "-c:a pcm_s16le",
    *,
    source: str | None = None,
    sound: Sound | None = None,
    **facts: Any,
) -> Case:
    """A tone of 440 Hz, 2.4 s, stereo at 44.1 kHz, encoded with these options."""

    def write(path: Path) -> None:
        encode(path, options, numbers=(), sound=source or tone())

    return Case(name, write, sound=sound or Sound(), **facts)


def edited(
    name: str, edit: Callable[[bytes], bytes], options: str = "-c:a pcm_s16le", **facts: Any
) -> Case:
    """The same, its bytes edited."""

    def write(path: Path) -> None:
        encode(path, options, numbers=(), sound=tone())
        path.write_bytes(edit(path.read_bytes()))

    return Case(name, write, **{"sound": Sound(), **facts})


def with_cover(name: str, options: str, **facts: Any) -> Case:
    """Sound with a picture as cover."""

    def write(path: Path) -> None:
        cover = path.with_name(f"between.{name}.png")
        encode(cover, "-frames:v 1", numbers=[400])
        mapping = f"-i file:{cover} -map 0:a -map 1:v -c:v png -disposition:v attached_pic"
        encode(path, f"{mapping} {options}", numbers=(), sound=tone())
        cover.unlink()

    return Case(name, write, **{"sound": Sound(), **facts})


def wav(samples: np.ndarray, code: int = 1, rate_hz: int = 16_000) -> bytes:
    """A mono WAV file of samples in their own type; code 3 stands for floats."""
    data = samples.astype(samples.dtype.newbyteorder("<")).tobytes()
    size = samples.dtype.itemsize
    bytes_per_s = min(rate_hz * size, 2**32 - 1)
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, code, 1, rate_hz, bytes_per_s, size, size * 8)
    body = b"WAVE" + form + struct.pack("<4sI", b"data", len(data)) + data
    return struct.pack("<4sI", b"RIFF", len(body)) + body


def sine(seconds: float = 2.4, level: float = 0.3, rate_hz: int = 16_000) -> np.ndarray:
    """A tone of 440 Hz in float32."""
    times = np.arange(round(seconds * rate_hz)) / rate_hz
    return (level * np.sin(2 * np.pi * 440 * times)).astype(np.float32)


def raw(name: str, content: bytes, **facts: Any) -> Case:
    """These bytes."""
    return Case(name, lambda path: path.write_bytes(content), **facts)


def with_value(value: float) -> bytes:
    """A WAV of floats, one of them this value."""
    samples = sine()
    samples[9000] = value
    return wav(samples, code=3)


def sizes(riff: int | None, data: int | None) -> Callable[[bytes], bytes]:
    """Replace what a WAV header says of its length; None leaves it."""

    def edit(content: bytes) -> bytes:
        edited = bytearray(content)
        place = content.index(b"data") + 4
        if riff is not None:
            edited[4:8] = struct.pack("<I", riff)
        if data is not None:
            edited[place : place + 4] = struct.pack("<I", data)
        return bytes(edited)

    return edit


def riff_with_header(content: bytes) -> bytes:
    """The length of the whole file instead of what follows: a frequent mistake of programs."""
    return sizes(len(content), None)(content)


def joined(name: str, first: str, second: str, **facts: Any) -> Case:
    """Two sound files one behind the other."""

    def write(path: Path) -> None:
        encode(path, first, numbers=(), sound=tone())
        begin = path.read_bytes()
        encode(path, second, numbers=(), sound=tone())
        path.write_bytes(begin + path.read_bytes())

    return Case(name, write, **facts)


NO_RATE = frozenset({"undecodable", "not_media", "no_audio", "too_long", "damaged"})
"""What sound without a possible rate may be called."""

EIGHT = (0.1,) * 8
"""A level for each of eight channels."""

FORMS = [
    audio("pcm_16.wav"),
    audio("pcm_u8.wav", "-c:a pcm_u8"),
    audio("pcm_24.wav", "-c:a pcm_s24le"),
    audio("pcm_32.wav", "-c:a pcm_s32le"),
    audio("float_32.wav", "-c:a pcm_f32le"),
    audio("float_64.wav", "-c:a pcm_f64le"),
    audio("a_law.wav", "-c:a pcm_alaw"),
    audio("adpcm.wav", "-c:a adpcm_ima_wav"),
    *(audio(f"at_{rate}.wav", f"-ar {rate} -c:a pcm_s16le") for rate in (11025, 22050, 32000)),
    *(audio(f"at_{rate}.wav", f"-ar {rate} -c:a pcm_s24le") for rate in (48000, 96000, 192000)),
    audio("mono_8k.wav", "-ar 8000 -c:a pcm_s16le", source=tone((0.3,))),
    audio("mono_16k.wav", "-ar 16000 -c:a pcm_s16le", source=tone((0.3,))),
    audio("at_11111.wav", "-ar 11111 -c:a pcm_s16le"),
    audio(
        "surround.wav",
        source=tone((0.6, 0.3, 0.0, 0.0, 0.1, 0.2)),
        sound=Sound(level=0.2),
    ),
    *(
        audio(f"seven_one.{ending}", options, source=tone(EIGHT), sound=Sound(level=0.1))
        for ending, options in (
            ("opus", "-c:a libopus -b:a 512k"),
            ("ogg", "-c:a libvorbis -q:a 6"),
            ("flac", "-c:a flac"),
            ("wav", "-c:a pcm_f32le"),
        )
    ),
    # The encoder leaves out all but the bass of the eighth channel.
    audio("seven_one.m4a", "-c:a aac -b:a 512k", source=tone(EIGHT), sound=Sound(level=0.0875)),
    audio("sixteen_channels.wav", source=tone(EIGHT * 2), sound=Sound(level=0.1)),
    audio("pcm_64.mka", "-c:a pcm_s64le"),
    audio("antiphase.wav", source=tone((0.4, -0.4)), sound=Sound(level=0.0)),
    audio("silence.flac", "-c:a flac", source=tone((0.0, 0.0)), sound=Sound(level=0.0)),
    audio("twelve_s.wav", source=tone(seconds=12), sound=Sound(seconds=10)),
    audio(
        "all_of_twelve_s.flac",
        "-c:a flac",
        source=tone(seconds=12),
        sound=Sound(seconds=12),
        settings={"max_audio_s": None},
    ),
    audio(
        "cut_at_1_s.mp3", "-c:a libmp3lame", sound=Sound(0.285, 1.0), settings={"max_audio_s": 1}
    ),
    audio("loud.wav", "-c:a pcm_f32le", source=tone((4.0,)), sound=Sound(changes=True)),
    audio("aiff.aiff", "-c:a pcm_s16be"),
    audio("caf.caf", "-c:a pcm_s24be"),
    audio("wave64.w64"),
    audio("rf64.wav", "-c:a pcm_s16le -rf64 always"),
    audio("flac_24.flac", "-sample_fmt s32 -c:a flac"),
    audio("flac.ogg", "-c:a flac"),
    audio("mp3.mp3", "-c:a libmp3lame", sound=LAME),
    audio("mp3_vbr_22k.mp3", "-c:a libmp3lame -q:a 4 -ar 22050", source=tone((0.3,))),
    audio("mp3_bare.mp3", "-c:a libmp3lame -write_xing 0 -id3v2_version 0", sound=LAME),
    audio("mp2.mp2", "-c:a mp2 -f mp2"),
    audio("vorbis.ogg", "-c:a libvorbis"),
    audio("opus.opus", "-c:a libopus"),
    audio("opus.webm", "-c:a libopus"),
    audio("opus_mono.ogg", "-c:a libopus -application voip", source=tone((0.3,))),
    audio("aac.m4a", AAC),
    audio("aac.aac", f"{AAC} -f adts"),
    audio("aac.mka", AAC),
    audio("alac.m4a", "-c:a alac"),
    audio("ac3.ac3", "-c:a ac3"),
    audio("wma.wma", "-c:a wmav2"),
    audio("aac.ts", AAC),
    audio("no_video.mp4", AAC),
    with_cover("cover.mp3", "-c:a libmp3lame -id3v2_version 3", sound=LAME),
    with_cover("cover.m4a", AAC),
    with_cover("cover.mp4", AAC),
    with_cover("cover.flac", "-c:a flac"),
]

HEADERS = [
    audio("piped.wav", "-c:a pcm_s16le -seekable 0"),
    audio("piped.flac", "-c:a flac -seekable 0"),
    audio("piped.mp3", "-c:a libmp3lame -seekable 0", sound=LAME),
    *(
        raw(f"at_{rate_hz}_hz.wav", wav(sine(), 3, rate_hz), errors=NO_RATE)
        for rate_hz in (0, 1, 2**31 - 1, 2**32 - 1)
    ),
    raw("no_channels.wav", wav(sine(), 3).replace(b"\3\0\1\0", b"\3\0\0\0"), errors=NO_RATE),
    edited("streamed.wav", sizes(0xFFFFFFFF, 0xFFFFFFFF)),
    edited("streamed_zero.wav", sizes(0, 0)),
    edited("half_streamed.wav", sizes(None, 0xFFFFFFFF)),
    edited("too_long_a_size.wav", sizes(10_000_000, 9_000_000), errors=CUT),
    edited("too_long_a_chunk.wav", sizes(None, 9_000_000), errors=CUT),
    edited("riff_with_header.wav", riff_with_header),
    edited("riff_too_small.wav", sizes(1000, None)),
    edited("chunk_too_small.wav", sizes(None, 44_100 * 4), sound=Sound(seconds=1.0)),
    edited("followed_by_text.wav", lambda content: content + b"end of text\n" * 99),
    edited("junk_before.mp3", lambda content: bytes(3000) + content, "-c:a libmp3lame", sound=LAME),
    edited(
        "no_frame_count.flac",
        lambda content: content[:21] + bytes([content[21] & 0xF0, 0, 0, 0, 0]) + content[26:],
        "-c:a flac",
    ),
    raw("two_samples.wav", wav(sine()[:2], code=3), sound=Sound(seconds=0.0, changes=True)),
    raw("one_sample.wav", wav(np.array([12345], np.int16)), sound=Sound(0, 0.0, changes=True)),
    raw("no_sample.wav", wav(sine()[:0], code=3), errors=frozenset({"no_audio", "not_media"})),
    raw("nan.wav", with_value(np.nan), errors=frozenset({"undecodable", "damaged"})),
    raw("inf.wav", with_value(-np.inf), errors=frozenset({"undecodable", "damaged"})),
    raw("overflow.wav", with_value(3e38), sound=Sound(changes=True), loose="sound"),
    joined(
        "new_rate.aac",
        f"{AAC} -f adts",
        f"{AAC} -ar 48000 -f adts",
        errors=frozenset({"undecodable", "damaged"}),
    ),
    joined(
        "new_channels.aac",
        f"{AAC} -f adts",
        f"-af pan=mono|c0=0.5*c0+0.5*c1 {AAC} -f adts",
        sound=Sound(seconds=4.8),
        loose="sound",
    ),
]

WRONG_NAMES = [
    clip("mp4_named.wav", f"{X264} {AAC} -f mp4"),
    clip("mkv_named.mp4", f"{X264} {AAC} -f matroska"),
    clip("ts_named.mkv", f"{X264} {AAC} -f mpegts"),
    audio("mp3_named.wav", "-c:a libmp3lame -f mp3", sound=LAME),
    audio("wav_named.mp3", "-c:a pcm_s16le -f wav"),
    audio("flac_named.mp4", "-c:a flac -f flac"),
    clip("avi_named.jpg", "-c:v mpeg4 -q:v 2 -c:a pcm_s16le -f avi", shown=ALL),
]

SOUNDS = [*FORMS, *HEADERS, *WRONG_NAMES]
