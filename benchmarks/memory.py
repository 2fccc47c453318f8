"""The estimate of a training's memory against the peak of a real one, at three sizes on the CPU.

Makes thinkers with random weights and two clips, and runs `avrt sft` and `avrt grpo` for two steps,
each in a process of its own. The peak is that of memory of its own (not of files) from before the
student is loaded to the end of the training, less what the process had before. Bar: estimate and
peak differ by at most 15 %.

    python benchmarks/memory.py

Needs AVRT with the extra `train`, Linux, and 6 GB of memory.
"""

from __future__ import annotations

import avrt.engines.torchcompat  # noqa: F401  # isort: skip

import gc
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import transformers
from PIL import Image

from avrt.config import Config
from avrt.train import grpo, sft
from avrt.train.checkpoint import build_student
from avrt.train.memory import Way, estimate_memory, load_of
from avrt.world.networks import new_student

SIZES = {
    "small": {"hidden_size": 384, "num_hidden_layers": 4, "intermediate_size": 1024},
    "middle": {"hidden_size": 640, "num_hidden_layers": 6, "intermediate_size": 1760},
    "large": {"hidden_size": 1024, "num_hidden_layers": 8, "intermediate_size": 2816},
}
WORDS = {"small": 16_384, "middle": 16_384, "large": 32_768}
SIDE, SECONDS, NEW = 392, 4, 64
"""Height and width of the picture; length of the sound; tokens of a completion."""
BAR = 0.15
CASES = ("sft", "sft without checkpointing", "grpo")


def main() -> None:
    """Print a row for each size and stage."""
    transformers.utils.logging.set_verbosity_error()
    print(f"{'size':8} {'stage':26} {'estimate MiB':>12} {'peak MiB':>10} {'ratio':>6}")
    worst = 0.0
    with tempfile.TemporaryDirectory() as place:
        for size in SIZES:
            folder = write_student(Path(place) / size, size)
            write_media(Path(place))
            for case in CASES:
                measured = in_own_process(Path(place), folder, case)
                estimate, peak = measured["estimate"], measured["peak"]
                worst = max(worst, abs(estimate / peak - 1))
                print(
                    f"{size:8} {case:26} {estimate / 2**20:12.0f} {peak / 2**20:10.0f} "
                    f"{estimate / peak:6.2f}",
                    flush=True,
                )
    print(f"largest difference {worst:.0%}, bar {BAR:.0%}: {'met' if worst <= BAR else 'MISSED'}")


def write_student(folder: Path, size: str) -> Path:
    """Save a thinker of a size: heads of 64, a quarter of them for keys, the head untied."""
    model, processor = new_student()
    settings = model.config.to_dict()
    text = settings["text_config"]
    n_heads = SIZES[size]["hidden_size"] // 64
    text |= {
        **SIZES[size],
        "layer_types": ["full_attention"] * SIZES[size]["num_hidden_layers"],
        "vocab_size": WORDS[size],
        "num_attention_heads": n_heads,
        "num_key_value_heads": 2,
        "tie_word_embeddings": False,
        "rope_parameters": {**text["rope_parameters"], "mrope_section": [8, 12, 12]},
    }
    settings["tie_word_embeddings"] = False
    settings["vision_config"]["out_hidden_size"] = SIZES[size]["hidden_size"]
    settings["audio_config"]["output_dim"] = SIZES[size]["hidden_size"]
    torch.manual_seed(0)
    made = type(model)(type(model.config)(**settings))
    made.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def write_media(place: Path) -> None:
    """A picture and a sound of noise."""
    noise = np.random.default_rng(0)
    pixels = noise.integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(place / "picture.png")
    with wave.open(str(place / "sound.wav"), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(noise.integers(-9000, 9000, 16_000 * SECONDS, dtype=np.int16).tobytes())


def configuration(place: Path, folder: Path, case: str) -> Config:
    """Two steps on 8 samples with the same picture and sound."""
    stage = case.split()[0]
    common = {"save_steps": 100, "gradient_checkpointing": case == stage}
    config = Config.model_validate(
        {
            "run": {"dir": place / "runs", "name": f"{folder.name}-{case.replace(' ', '-')}"},
            "data": {"root": place},
            "media": {"max_pixels": SIDE * SIDE, "max_audio_s": SECONDS, "workers": 0},
            "student": {
                "model": str(folder),
                "prompt": "world/student",
                "device": "cpu",
                "dtype": "float32",
            },
            "sft": {"per_device_batch_size": 2, "gradient_accumulation_steps": 2, **common},
            "grpo": {
                "init": "base",
                "max_steps": 2,
                "group_size": 4,
                "prompts_per_step": 2,
                "max_new_tokens": NEW,
                **common,
            },
        }
    )
    rows = [row(number) for number in range(8)]
    types = {"choices": pa.list_(pa.string()), "answer": pa.int64()}
    for split, part in {"train": rows, "validation": []}.items():
        path = config.run.path / "dataset" / f"{split}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        columns = {
            key: pa.array([item[key] for item in part], types.get(key, pa.string()))
            for key in rows[0]
        }
        pq.write_table(pa.table(columns), path)
    return config


def row(number: int) -> dict[str, Any]:
    """A row of the dataset."""
    return {
        **dict.fromkeys(("video_name", "video_id"), f"clip{number}"),
        **dict.fromkeys(("question_relation", "question_type"), "both"),
        "id": f"s{number}",
        "question": "What is it?",
        "choices": ["bell", "drum", "flute", "horn"],
        "answer": 1,
        "answer_letter": "B",
        "answer_text": "drum",
        "av_reasoning": f"<think>{'A tone sounds. ' * 30}</think><answer>B</answer>",
        "video": None,
        "image": "picture.png",
        "audio": "sound.wav",
    }


def in_own_process(place: Path, folder: Path, case: str) -> dict[str, int]:
    """Run a case in a process whose freed memory goes back at once."""
    quiet = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "65536"}
    command = [sys.executable, __file__, str(place), str(folder), case]
    ended = subprocess.run(
        command,
        env={**os.environ, **quiet, "MALLOC_TRIM_THRESHOLD_": "0", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode:
        sys.exit(ended.stderr)
    return json.loads(ended.stdout.splitlines()[-1])


def measure(place: Path, folder: Path, case: str) -> None:
    """Run a case and print its estimate and its peak."""
    config = configuration(place, folder, case)
    stage = sft if case.startswith("sft") else grpo
    section = config.sft if stage is sft else config.grpo
    loads = stage.load_student
    watch = Watch()

    def load(*arguments: Any) -> Any:
        gc.collect()
        watch.start()
        return loads(*arguments)

    stage.load_student = load
    stage.run(config)
    watch.stop()
    model = build_student(str(folder), config.student)
    prompt, frames, trace = sample_length(config, folder)
    n_tokens = prompt + trace if stage is sft else prompt
    estimate = estimate_memory(
        model, load_of(section, n_tokens, frames, trace), Way(config.student, on_gpu=False)
    )
    print(json.dumps({"estimate": sum(estimate.values()), "peak": watch.peak, "parts": estimate}))


def sample_length(config: Config, folder: Path) -> tuple[int, int, int]:
    """Tokens of the prompt, of its picture, and of the trace."""
    from avrt.train.data import PromptEncoder, read_examples, split_path, trace_ids

    processor = transformers.AutoProcessor.from_pretrained(folder)
    example = read_examples(split_path(config.run.path, "train"))[0]
    encoder = PromptEncoder(processor, config.data.root, config.media, config.student.prompt)
    n_prompt = len(encoder(example.sample).input_ids)
    return n_prompt, (SIDE // 28) ** 2, len(trace_ids(processor, example.trace))


class Watch:
    """The peak of this process's own memory over a time, less what it was at the start."""

    def __init__(self) -> None:
        self.peak = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def start(self) -> None:
        self._base = own_bytes()
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._ended.is_set():
            self.peak = max(self.peak, own_bytes() - self._base)
            time.sleep(0.002)


def own_bytes() -> int:
    """The resident memory of this process that is no file."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) * 1024
    raise OSError("/proc/self/status has no RssAnon")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        measure(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
    else:
        main()
