"""Killed at any moment, generation loses no finished call, repeats none, ends in the same bytes.

A small turn of the benchmark: a real server, real processes, 16 calls in flight, real SIGKILLs.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

N_KILLS, N_QUESTIONS = 5, 60


@pytest.mark.slow
def test_kills_lose_nothing_repeat_nothing_and_change_nothing(repository: Path) -> None:
    benchmark = repository / "benchmarks" / "ledger.py"
    numbers = ["--kills", str(N_KILLS), "--questions", str(N_QUESTIONS), "--json"]
    done = subprocess.run(
        [sys.executable, str(benchmark), "kill", *numbers], capture_output=True, check=False
    )
    assert done.stdout, done.stderr.decode()
    row = json.loads(done.stdout)
    assert row["calls"] == 3 * N_QUESTIONS
    assert 0 < row["kills of live work"] <= N_KILLS
    assert row["committed calls lost"] == 0
    assert row["committed calls asked again"] == 0
    assert row["calls missing at the end"] == 0
    assert row["files that differ"] == 0
    repeated = row["requests of the killed run"] - row["calls"]
    assert repeated <= 16 * N_KILLS
