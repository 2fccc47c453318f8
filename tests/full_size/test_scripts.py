"""The scripts that measure at full size, tried with a small model."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import gpu_smoke
import official
from course import make_video

TINY = ("--tiny", "--clips", "2", "--new-tokens", "4")


def script(repository: Path, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a script of `benchmarks/`."""
    return subprocess.run(
        [sys.executable, str(repository / "benchmarks" / name), *arguments],
        env={**os.environ, "AVRT_REAL_DATA": "nowhere"},
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
    assert "evaluation of 32 items took" in text


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


def test_a_section_takes_the_place_of_the_one_about_the_same_card(tmp_path):
    page = tmp_path / "page.md"
    for text in ("## A\n\nfirst\n", "## B\n\nsecond\n", "## A\n\nthird\n"):
        gpu_smoke.write_section(page, text)
    assert page.read_text() == "## A\n\nthird\n\n## B\n\nsecond\n"
