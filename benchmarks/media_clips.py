"""The clips that media are measured on: made by ffmpeg, and a folder of real ones."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SECONDS = 10
SOURCES = {
    "testsrc2-25": "testsrc2=size=1280x720:rate=25",
    "testsrc2-30": "testsrc2=size=1280x720:rate=30",
    "mandelbrot-25": "mandelbrot=size=1280x720:rate=25",
    "mandelbrot-30": "mandelbrot=size=1280x720:rate=30",
    "grain-24": "testsrc2=size=1280x720:rate=24,noise=alls=8:allf=t",
    "grain-30": "mandelbrot=size=1280x720:rate=30,noise=alls=8:allf=t",
}
SOUND = (
    "aevalsrc='0.3*sin(2*PI*(300+40*t)*t)+0.1*sin(2*PI*3000*t)|0.2*sin(2*PI*1234*t)'"
    f":sample_rate=44100:duration={SECONDS}"
)
HUGE = "testsrc2=size=7680x4320:rate=12"


@dataclass(frozen=True)
class Clip:
    """One file and what is known of it."""

    path: Path
    real: bool
    has_b_frames: bool

    @property
    def name(self) -> str:
        """Unique among the clips of a run."""
        return str(self.path)


def make_synthetic(cache: Path) -> list[Clip]:
    """Twelve clips of 10 s, 1280x720, H.264 medium and AAC: six with B-frames, six without."""
    clips = []
    for name, source in SOURCES.items():
        for n_b_frames in (3, 0):
            path = cache / f"{name}-b{n_b_frames}.mp4"
            if not path.is_file():
                _encode(path, source, SECONDS, n_b_frames)
            clips.append(Clip(path, real=False, has_b_frames=bool(n_b_frames)))
    return clips


def make_huge(cache: Path) -> Path:
    """Two seconds of 8K with B-frames: enough to fill every buffer of the decoder."""
    path = cache / "8k.mp4"
    if not path.is_file():
        _encode(path, HUGE, 2, 3)
    return path


def find_real(folder: Path) -> Iterator[Clip]:
    """Every MP4 below a folder that has picture and sound."""
    for path in sorted(folder.rglob("*.mp4")):
        command = ["ffprobe", "-v", "error", "-show_streams", "-of", "json", str(path)]
        probed = subprocess.run(command, check=False, capture_output=True, text=True)
        streams = json.loads(probed.stdout or "{}").get("streams", [])
        videos = [stream for stream in streams if stream["codec_type"] == "video"]
        if videos and any(stream["codec_type"] == "audio" for stream in streams):
            yield Clip(path, real=True, has_b_frames=bool(videos[0].get("has_b_frames")))


def _encode(path: Path, source: str, seconds: int, n_b_frames: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".part.mp4")
    inputs = ["-f", "lavfi", "-i", source, "-f", "lavfi", "-i", SOUND]
    video = ["-c:v", "libx264", "-preset", "medium", "-pix_fmt", "yuv420p", "-bf", str(n_b_frames)]
    video += ["-maxrate", "3M", "-bufsize", "6M"]  # as large as clips from the web are
    audio = ["-c:a", "aac", "-b:a", "128k"]
    command = ["ffmpeg", "-v", "error", "-y", *inputs, "-t", str(seconds), *video, *audio]
    subprocess.run([*command, str(temporary)], check=True)
    temporary.rename(path)
