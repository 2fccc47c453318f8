"""The whole command line with a thinker of full width and vocabulary, on a CPU: `make full-size`.

    python benchmarks/full_size.py [--folder FOLDER] [KEY=VALUE ...]

Builds a whole Qwen2.5-Omni-3B with one layer in each part and random weights (0.78 of 4.7 billion
parameters: embeddings, head and projections are whole), and takes it through extract, prepare,
generate, two steps each of SFT and GRPO, eval, merge and export-vllm, on real clips, or on made
ones of 720p. Prints what each command took. The bars: 10 minutes and 16 GiB. KEY=VALUE are settings
of AVRT that replace those here, such as `student.lora.rank=16`.
"""

from __future__ import annotations

import official  # isort: skip  # makes torchvision load

import argparse
import resource
import shutil
import sys
import tempfile
import time
from pathlib import Path

from avrt.checkpoints.tensors import read_tensors
from course import Course, find_videos, make_video, read_settings, write_data, write_models

MAX_S, MAX_GIB = 600, 16
DISK_GIB = 30
N_CLIPS, N_ITEMS = 2, 2


SETTINGS = {
    "student.device": "cpu",
    "student.dtype": "float32",
    "sft.gradient_accumulation_steps": 1,
    "sft.warmup_steps": 0,
    "grpo.max_steps": 2,
    "grpo.prompts_per_step": 1,
    "grpo.group_size": 2,
    "grpo.per_device_batch_size": 2,
    "grpo.max_new_tokens": 16,
    "eval.max_new_tokens": 16,
    "eval.batch_size": N_ITEMS,
}
"""Two steps of each training; everything else as it is by default."""


def build(folder: Path, tiny: bool) -> Course:
    """Write the whole model, its data, prompts and script."""
    config = official.thinker_config("tiny" if tiny else "3b", n_layers=1)
    thinker = official.new_thinker(config, "cpu")
    official.write_checkpoint(folder / "omni", thinker, official.new_processor(), whole=True)
    videos = find_videos()
    if tiny or not videos:
        size = (112, 112) if tiny else (720, 1280)
        videos = [make_video(folder / f"made{seed}.mp4", seed, size) for seed in range(2)]
    write_data(folder / "data", videos, N_CLIPS, N_ITEMS)
    return Course(folder, {**write_models(folder), **SETTINGS})


def travel(course: Course) -> None:
    """Run every command, each on what the ones before it wrote."""
    folder = course.folder
    omni, thinker, trained = folder / "omni", folder / "thinker", course.run / "grpo" / "model"
    course.command("checkpoint", "extract", str(omni), str(thinker))
    course.stage("checkpoint", "describe", str(thinker))
    course.stage("prepare")
    course.stage("generate")
    course.stage("sft")
    shutil.rmtree(course.run / "sft" / "checkpoints")  # several times as large as the model
    course.stage("grpo")
    course.stage("eval")
    course.command("checkpoint", "merge", str(trained), str(omni), str(folder / "merged"), "--cast")
    course.command("checkpoint", "export-vllm", str(trained), str(folder / "served"))


def check(course: Course) -> list[str]:
    """Say what is wrong with what the commands left."""
    folder, faults = course.folder, []
    omni, merged = read_tensors(folder / "omni"), read_tensors(folder / "merged")
    forms = [{name: (t.dtype, t.shape) for name, t in one.items()} for one in (omni, merged)]
    if forms[0] != forms[1]:
        faults.append("the merged model has other tensors than the one it came from")
    served = {name for name in omni if name.startswith("thinker.")}
    if {*read_tensors(folder / "served")} != served:
        faults.append("the exported model has other tensors than the thinker")
    for stage in ("sft", "grpo"):
        rows = course.log(stage)
        if len(rows) != 2:
            faults.append(f"{stage} took {len(rows)} steps instead of 2")
    return faults


def main() -> None:
    """Parse the command line, run all, exit with 1 when a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("settings", nargs="*", help="settings of AVRT: KEY=VALUE")
    parser.add_argument("--folder", type=Path, help="keep everything in this new folder")
    parser.add_argument("--tiny", action="store_true", help="try the script with a small model")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="full-size-") as temporary:
        folder = (options.folder or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free / 2**30
        if not options.tiny and free < DISK_GIB:
            raise SystemExit(
                f"{folder}: {free:.0f} GiB are free, checkpoints need {DISK_GIB}; "
                "name another folder with --folder"
            )
        started = time.monotonic()
        own = read_settings(options.settings)
        course = build(folder, options.tiny)
        course.settings.update(own)
        travel(course)
        wall_s = time.monotonic() - started
        faults = check(course)
        rows = course.log("sft")
    tokens = sum(row["tokens_per_s"] * row["step_time_s"] for row in rows) / N_CLIPS
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    peak = max(own, *(step.peak_gib for step in course.steps))
    print(f"all: {wall_s:.0f} s (at most {MAX_S}), peak {peak:.1f} GiB (at most {MAX_GIB}), "
          f"{tokens:.0f} tokens per SFT sample")  # fmt: skip
    if wall_s > MAX_S or peak > MAX_GIB:
        faults.append("a bar is missed")
    print("PASS" if not faults else f"FAIL: {'; '.join(faults)}")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
