"""The scripts that measure at full size, tried with a small model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import gpu_smoke
import official
from course import REASONING, Course, make_video

TINY = ("--tiny", "--clips", "1", "--items", "2", "--new-tokens", "4")


def script(repository: Path, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a script of `benchmarks/`."""
    return subprocess.run(
        [sys.executable, str(repository / "benchmarks" / name), *arguments],
        env={**os.environ, "AVRT_REAL_DATA": "nowhere", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )


@pytest.mark.slow
def test_the_smoke_test_of_a_gpu_runs_to_its_end(repository, tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# Performance\n\n## Full size on a GPU: CPU\n\nold\n\n## Other\n\nstays\n")
    ended = script(
        repository, "gpu_smoke.py", *TINY, "--device", "cpu", "--write", str(page),
        "grpo.max_steps=2", f"--folder={tmp_path / 'work'}",
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr
    text = page.read_text()
    assert "old" not in text
    assert text.endswith("## Other\n\nstays\n")
    rows = {line.split(" | ")[0]: line.split(" | ") for line in text.splitlines() if " | " in line}
    for stage in ("| SFT", "| GRPO"):
        seconds, tokens_per_s, tflops = map(float, rows[stage][1:4])
        assert min(seconds, tokens_per_s, tflops) > 0
    assert "settings of its own: grpo.max_steps=2" in " ".join(text.split())
    assert "evaluation of 2 items took" in text


def test_without_a_gpu_the_smoke_test_says_what_to_do(monkeypatch):
    monkeypatch.setattr(gpu_smoke.torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["gpu_smoke.py"])
    with pytest.raises(SystemExit, match=r"no GPU here; `avrt doctor`.*--tiny --device cpu"):
        gpu_smoke.parse()


def test_operations_of_a_sample_are_those_of_the_documentation(tmp_path):
    clip = make_video(tmp_path / "clip.mp4", 0, (112, 112))
    work = gpu_smoke.measure_work(official.thinker_config("3b"), [clip])
    assert work.n_patches == 4 * 8 * 8
    assert work.text(3_400) == pytest.approx(22.7e12, rel=2e-3)
    assert work.text(4_350) == pytest.approx(29.6e12, rel=2e-3)
    per_patch = 2 * 629_352_960
    sound = 2 * 637_676_544 * 500
    assert work.towers == pytest.approx(per_patch * work.n_patches + sound, rel=2e-3)


def write_log(folder: Path, rows: list[dict[str, float]]) -> None:
    folder.mkdir(parents=True)
    lines = [json.dumps({"step": n, "loss": 1.0, **row}) for n, row in enumerate(rows, start=1)]
    (folder / "log.jsonl").write_text("\n".join(lines) + "\n")


def test_steps_are_measured_without_the_first(tmp_path):
    course = Course(tmp_path, {"sft.gradient_accumulation_steps": 8, "grpo.prompts_per_step": 8})
    warming = {"step_time_s": 99.0, "tokens_per_s": 1.0, "memory_gib": 5.0}
    step = {"step_time_s": 2.0, "tokens_per_s": 8 * 1_000 / 2, "memory_gib": 6.0}
    write_log(course.run / "sft", [warming, {**step, "waiting": 0.1}, {**step, "waiting": 0.3}])
    step |= {"completion_length": 100.0}
    write_log(course.run / "grpo", [{**warming, "completion_length": 9.0}, step, step])
    work = gpu_smoke.Work(n_patches=1.0, towers=5.0e9, weights=1_000_000, attention=0)
    sft, grpo = gpu_smoke.measure(course, work)
    assert (sft.step_s, sft.tokens_per_s, sft.gib) == (2.0, 4_000.0, 6.0)
    assert sft.waiting == pytest.approx(0.2)
    assert sft.tflops == pytest.approx(8 * (5e9 + 3 * 2e6 * 1_000) / 2 / 1e12)
    trace = official.new_tokenizer()(f"<think>{REASONING}</think>\n<answer>A</answer><|im_end|>")
    n_prompt, n_new = 1_000 - len(trace["input_ids"]), 4 * 100
    assert grpo.tokens_per_s == pytest.approx(8 * (n_prompt + n_new) / 2)
    passes = n_prompt + 4 * (n_prompt + n_new) + n_new
    assert grpo.tflops == pytest.approx(8 * (3 * 5e9 + 2e6 * passes) / 2 / 1e12)
    assert grpo.waiting is None


def test_a_loss_that_is_no_number_ends_it(tmp_path):
    course = Course(tmp_path, {"sft.gradient_accumulation_steps": 8})
    step = {"step_time_s": 2.0, "tokens_per_s": 1.0, "memory_gib": 6.0}
    write_log(course.run / "sft", [step, {**step, "loss": float("nan")}])
    work = gpu_smoke.Work(n_patches=1.0, towers=5.0, weights=1, attention=0)
    with pytest.raises(SystemExit, match="SFT: the loss of step 2 is nan"):
        gpu_smoke.measure(course, work)


def test_a_section_takes_the_place_of_the_one_about_the_same_card(tmp_path):
    page = tmp_path / "page.md"
    for text in ("## A\n\nfirst\n", "## B\n\nsecond\n", "## A\n\nthird\n"):
        gpu_smoke.write_section(page, text)
    assert page.read_text() == "## A\n\nthird\n\n## B\n\nsecond\n"
