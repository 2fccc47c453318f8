"""Settings of the run, its data and their media: where they lie, how much is read.

The text below a field is its documentation, from which docs/config.md is made.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from avrt.config.section import Section, check_name

__all__ = ["DataConfig", "MediaConfig", "PrepareConfig", "RunConfig"]


class RunConfig(Section):
    name: Annotated[
        str,
        check_name(
            r"[A-Za-z0-9][A-Za-z0-9._-]*",
            "a name may have letters, digits, `.`, `_` and `-`, and begins with a letter or digit",
        ),
    ] = "run"
    """Name of the run; its directory is `dir`/`name`."""
    dir: Path = Path("runs")
    """Folder that holds the run directories."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    """Seed of everything random: the split, shuffles, every sampled model call, the rollouts."""
    report_to: tuple[Literal["tensorboard", "trackio", "wandb"], ...] = ()
    """Trackers that SFT and GRPO send each step's numbers to, besides the terminal and log.jsonl.
    The library of each must be installed.
    """

    @property
    def path(self) -> Path:
        """The run directory."""
        return self.dir / self.name


class DataConfig(Section):
    format: Literal[
        "avqa",
        "parquet",
        "omnibench",
        "daily_omni",
        "mmar",
        "mmau",
        "video_holmes",
        "worldsense",
        "omnivideobench",
    ] = "avqa"
    """Annotation format: AVQA's JSON list, AVRT's own Parquet, or a benchmark as its authors
    publish it (`avrt list benchmarks` lists them).
    """
    root: Path = Path("data")
    """Folder with the annotations; media paths are relative to it."""
    hub: str | None = None
    """Dataset on the Hugging Face Hub whose annotation files are fetched into `root` when they are
    not there; never its media.
    """
    split: str = "train"
    """`train` reads train_qa.json (avqa) or train.parquet (parquet); the other formats have no
    splits.
    """
    sample: int | None = Field(default=None, ge=1)
    """Read only N questions, spread evenly over the file by a hash of their ids: the same on every
    machine, and part of any larger sample.
    """
    limit: int | None = Field(default=None, ge=1)
    """Read only the first N questions, of the sample where there is one."""


class MediaConfig(Section):
    n_frames: int = Field(default=8, ge=1, le=768)
    """Frames taken uniformly over the clip."""
    max_pixels: int = Field(default=602_112, ge=784)
    """Largest height x width of a frame; larger ones are scaled down, keeping their shape."""
    size_factor: int = Field(default=28, ge=1)
    """Height and width of a frame are rounded to multiples of this (patch size x merge size of the
    models).
    """
    max_audio_s: float | None = Field(default=10.0, gt=0)
    """Seconds of sound taken from the start; null takes all."""
    jpeg_quality: int = Field(default=90, ge=1, le=100)
    """Quality of the JPEGs sent to servers."""
    audio_format: Literal["wav", "flac"] = "wav"
    """Form of the sound sent to servers: 16-bit WAV, which all take, or FLAC, which is
    smaller.
    """
    damaged: Literal["refuse", "use"] = "refuse"
    """A clip that is cut off, or damaged where it is needed: refuse it, or use the part that
    decodes and mark it.
    """
    opposite_phase: Literal["mix", "loudest_channel"] = "mix"
    """Sound whose channels cancel out when they are mixed to mono: mix them as any other, or use
    the loudest channel alone.
    """
    max_file_mb: int = Field(default=1024, ge=1)
    """Largest file that is opened, in MiB."""
    max_source_pixels: int = Field(default=8192 * 8192, ge=1)
    """Largest picture that is decoded, height x width."""
    max_clip_s: float = Field(default=7200.0, gt=0)
    """Longest clip that is read, in seconds."""
    timeout_s: float = Field(default=60.0, gt=0)
    """Longest time for reading a file, before its process is replaced."""
    workers: int | None = Field(default=None, ge=0)
    """Processes that read media; null: one for each processor; 0: read them in the main process,
    where no time limit holds.
    """

    read_ahead: int | None = Field(default=None, ge=0)
    """Samples that a training has read, on each process, before their step, some 14 MB for a clip
    of 720p; null: those of two steps. `workers` processes read them, by default an equal share of
    the processors for each process of a launch on this machine.
    """

    def decoding(self) -> dict[str, Any]:
        """The settings that decide how a file is decoded, or that it is refused."""
        free = {"jpeg_quality", "audio_format", "timeout_s", "workers", "read_ahead"}
        settings = self.model_dump(exclude=free)
        if self.opposite_phase == "mix":  # as before there was this setting
            del settings["opposite_phase"]
        return settings


class PrepareConfig(Section):
    """The policy on questions with a fault of their own or of their file.

    `keep`: as if it were none. `drop`: the questions are left out, by name. `vision_only` and
    `audio_only`: only that teacher is asked. `fail`: left out, and `avrt prepare` ends with exit
    code 1.
    """

    broken: Literal["drop", "fail"] = "drop"
    """A file that is missing or cannot be read, whatever the reason; a question with a blank
    option, or whose answer stands twice among its options.
    """
    no_video: Literal["drop", "audio_only", "fail"] = "drop"
    """No picture."""
    no_audio: Literal["drop", "vision_only", "fail"] = "drop"
    """No sound track."""
    still: Literal["keep", "drop", "audio_only", "fail"] = "keep"
    """A video that shows one picture from beginning to end."""
    silent: Literal["keep", "drop", "vision_only", "fail"] = "keep"
    """Sound without anything to hear."""
    opposite_phase: Literal["keep", "drop", "vision_only", "fail"] = "keep"
    """Sound whose channels cancel out when they are mixed to mono, as models get it."""
    short_audio: Literal["keep", "drop", "vision_only", "fail"] = "keep"
    """Sound that ends long before the picture."""
    late_audio: Literal["keep", "drop", "vision_only", "fail"] = "keep"
    """Sound that begins long after the picture."""
