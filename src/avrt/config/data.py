"""Settings of the run, its data and their media: where they lie, how much is read.

The text below a field is its documentation, from which docs/config.md is made.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from avrt.config.section import Section, check_name
from avrt.stores import StorePath, to_path

__all__ = [
    "WITHOUT_EFFECT",
    "BenchmarkConfig",
    "DataConfig",
    "GivenMedia",
    "MediaConfig",
    "PrepareConfig",
    "RunConfig",
]


StoreOrFolder = Annotated[Path, BeforeValidator(to_path)]
"""A folder of this machine, or of a store, as an address."""


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
    on: Literal["local", "ray"] = "local"
    """Where media are read and models asked: in processes of this machine, or on the nodes of a Ray
    cluster, with the same results. `ray` holds for prepare, trace, merge, judge, eval and rubric.
    """
    seed: int = Field(default=0, ge=0, lt=2**32)
    """Seed of everything random: the split, shuffles, every sampled model call, the rollouts."""
    report_to: tuple[Literal["tensorboard", "trackio", "wandb"], ...] = ()
    """Trackers that SFT and GRPO send each step's numbers to, besides the terminal and log.jsonl.
    The library of each must be installed.
    """
    calls_from: str | None = Field(default=None, min_length=1)
    """Another run whose replies are taken for equal calls, so that only what is new is asked: its
    name in `dir`, or its folder. It is only read, and may be at work; replies that are taken are
    copied into this run's ledger.
    """

    @field_validator("dir", mode="before")
    @classmethod
    def _is_of_this_machine(cls, value: Any) -> Any:
        if isinstance(to_path(value), StorePath):
            raise ValueError(
                "the ledger and checkpoints need a folder of this machine or a mounted disk; of a "
                "store there may be data.root, media.payloads and the output of an export"
            )
        return value

    @property
    def path(self) -> Path:
        """The run directory."""
        return self.dir / self.name

    @property
    def calls_path(self) -> Path | None:
        """The directory of the run that `calls_from` names."""
        if self.calls_from is None:
            return None
        return Path(self.calls_from) if "/" in self.calls_from else self.dir / self.calls_from

    @model_validator(mode="after")
    def _is_another_run(self) -> Self:
        source = self.calls_path
        if source is not None and os.path.realpath(source) == os.path.realpath(self.path):
            raise ValueError(
                f"calls_from = {self.calls_from} is this run itself; name another, or leave it out"
            )
        return self


class DataConfig(Section):
    format: Literal[
        "avqa",
        "parquet",
        "webdataset",
        "omnibench",
        "daily_omni",
        "mmar",
        "mmau",
        "video_holmes",
        "worldsense",
        "omnivideobench",
        "video_mme",
        "rivabench_standup",
        "rivabench_academic",
        "avhbench",
    ] = "avqa"
    """Annotation format: AVQA's JSON list, AVRT's own Parquet, WebDataset shards with questions and
    clips, or a benchmark as its authors publish it (`avrt list benchmarks` lists them).
    """
    root: StoreOrFolder = Path("data")
    """Folder with the annotations; media paths are relative to it. It may be in a store, as
    `s3://BUCKET/FOLDER` (also `gs://`, `az://`, `hf://datasets/NAME`, and what else fsspec knows).
    """
    hub: str | None = None
    """Dataset on the Hugging Face Hub whose annotation files are fetched into `root` when they are
    not there; never its media.
    """
    split: str = "train"
    """`train` reads train_qa.json (avqa), train.parquet (parquet), train*.tar (webdataset) or, of
    RivaBench's parts where
    they have another name than their own, train.json; the other formats have no splits.
    """
    sample: int | None = Field(default=None, ge=1)
    """Read only N questions, spread evenly over the file by a hash of their ids: the same on every
    machine, and part of any larger sample.
    """
    limit: int | None = Field(default=None, ge=1)
    """Read only the first N questions, of the sample where there is one."""

    @model_validator(mode="after")
    def _hub_has_a_folder(self) -> Self:
        if self.hub is not None and isinstance(self.root, StorePath):
            raise ValueError(
                f"hub fetches into a folder of this machine, and root = {self.root} is in a store; "
                "leave hub out, or set root to a folder"
            )
        return self


WITHOUT_EFFECT = ("timeout_s", "workers", "read_ahead", "cache_dir", "cache_gb", "payloads")
"""Settings of `media` that change no result."""


class MediaConfig(Section):
    n_frames: int = Field(default=8, ge=1, le=768)
    """Frames taken uniformly over the clip; with `fps`, the most that are taken."""
    fps: float | None = Field(default=None, gt=0)
    """Frames per second, for clips of unequal length: at least four frames and an even number, as
    Qwen2.5-Omni's own loader counts them; null: `n_frames` of every clip.
    """
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

    cache_dir: Path | None = None
    """Folder of this machine for copies of files from a store and out of shards, shared by all its
    processes; null: avrt/media in the user's cache folder.
    """
    cache_gb: float = Field(default=20.0, gt=0)
    """Most GiB of those copies; the ones whose last use is longest ago go."""
    payloads: StoreOrFolder | None = None
    """Folder for the pictures and sounds that servers get, which several runs and machines may
    share; it may be in a store; null: `payloads` in the run directory.
    """

    @model_validator(mode="after")
    def _rate_has_room(self) -> Self:
        if self.lacks_room:
            raise ValueError(
                f"n_frames = {self.n_frames} is the most frames that fps = {self.fps:g} takes, and "
                f"it takes four of every clip at least; raise n_frames, or set fps to null"
            )
        return self

    @property
    def lacks_room(self) -> bool:
        """Whether fewer frames are allowed than a rate takes at least."""
        return self.fps is not None and self.n_frames < 4

    def describe(self, given: str) -> str:
        """What of a clip is given with frames (v), sound (a) or both (av), in words."""
        frames, seconds = f"{self.n_frames} frames", self.max_audio_s
        if self.fps is not None:
            frames = f"{self.fps:g} frames per second, at most {self.n_frames}"
        sound = "all sound" if seconds is None else f"{seconds:g} s of sound"
        return " and ".join({"v": frames, "a": sound}[half] for half in "va" if half in given)

    def decoding(self) -> dict[str, Any]:
        """The settings that decide how a file is decoded, or that it is refused."""
        settings = self.model_dump(exclude={"jpeg_quality", "audio_format", *WITHOUT_EFFECT})
        if self.opposite_phase == "mix":  # as before there was this setting
            del settings["opposite_phase"]
        if self.fps is None:
            del settings["fps"]
        return settings


class GivenMedia(Section):
    n_frames: int | None = Field(default=None, ge=1, le=768)
    """Frames of a clip; with `fps`, the most."""
    fps: float | None = Field(default=None, gt=0)
    """Frames per second of a clip; null, where it is given: `n_frames` of every clip."""
    max_pixels: int | None = Field(default=None, ge=784)
    """Largest height x width of a frame or a picture."""
    max_audio_s: float | None = Field(default=None, gt=0)
    """Seconds of sound taken from the start; null, where it is given: all."""

    @model_serializer(mode="wrap")
    def _only_given(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in handler(self).items() if key in self.model_fields_set}

    def over(self, media: MediaConfig) -> MediaConfig:
        """`media` with the settings that are given here; null counts where it has a meaning."""
        given = {name: getattr(self, name) for name in self.model_fields_set}
        has_null = ("fps", "max_audio_s")
        wanted = {k: v for k, v in given.items() if v is not None or k in has_null}
        return media.model_copy(update=wanted)


class BenchmarkConfig(DataConfig):
    """Where a set that is evaluated on lies, and what models get of its media."""

    media: GivenMedia = GivenMedia()
    """What models get of the clips of this set. A setting that is not given here is that of the
    set's authors (`avrt list benchmarks FORMAT`), and where they have none, that of `media`.
    """


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
