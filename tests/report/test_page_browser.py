from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from avrt.config import RunConfig
from avrt.report import run

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)

pytestmark = pytest.mark.skipif(not CHROMIUM.is_file(), reason="no Chromium on this machine")


@pytest.fixture(scope="module")
def dom(full_run, tmp_path_factory) -> str:
    """The document as the browser understood it."""
    folder = tmp_path_factory.mktemp("browser")
    shutil.copytree(full_run.run.path, folder / "runs" / "small")
    config = full_run.model_copy(update={"run": RunConfig(dir=folder / "runs", name="small")})
    run(config)
    page = config.run.path / "report" / "index.html"
    command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={folder / 'profile'}", "--dump-dom"]
    done = subprocess.run(
        [*command, page.as_uri()], capture_output=True, text=True, timeout=120, check=True
    )
    assert "Refused to" not in done.stderr
    return done.stdout


def test_the_browser_sees_the_table_and_the_gallery(dom):
    assert "<caption>bench: accuracy</caption>" in dom
    assert dom.count("<article") == 8
    assert 'aria-label="bench: accuracy with 95 % intervals"' in dom


def test_what_models_wrote_does_not_become_markup(dom):
    assert "<script" not in dom
    assert "onerror=" in dom  # as text
    assert '<img src="x"' not in dom
