"""Chromium for tests of the page: what it loads, what it says, and what axe finds.

A page that asks for anything outside the report's folder, breaks the content policy, or writes an
error on its console fails the test that opened it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from avrt.texts import shown

__all__ = ["Watched", "find_faults", "open_browser", "watch"]

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--mute-audio",
    "--autoplay-policy=no-user-gesture-required",
)
WAIT_MS = 20_000
"""A busy machine takes several times as long as a quiet one."""
_REPORT_VIOLATIONS = """document.addEventListener("securitypolicyviolation", event =>
  console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`));"""


@contextmanager
def open_browser() -> Iterator[Any]:
    """Debian's Chromium. Without it, the tests are skipped; in CI that is a failure.

    Playwright's event loop runs in this thread as long as it is open, so no other test may.
    """
    from playwright.sync_api import sync_playwright

    if not CHROMIUM.is_file():
        if os.environ.get("CI") == "true":
            pytest.fail(f"no {CHROMIUM}: install Debian's package chromium")
        pytest.skip(f"no {CHROMIUM}")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=str(CHROMIUM), args=list(FLAGS), timeout=2 * WAIT_MS
        )
        yield browser
        browser.close()


class Watched:
    """A page of the browser with all that it should not have done."""

    def __init__(self, context: Any, report: Path, clips: Path | None) -> None:
        self.address = (report / "index.html").as_uri()
        folders = [folder.as_uri() for folder in (report, clips) if folder is not None]
        allowed = (*(f"{unquote(folder)}/" for folder in folders), "data:", "blob:", "about:blank")
        self.allowed = allowed
        self.faults: list[str] = []
        self.page = context.new_page()
        context.on("request", lambda request: self._check(request.url))
        context.on("page", lambda page: self._note(f"opened {page.url}"))
        self.page.on("dialog", self._refuse)
        self.page.on("console", self._listen)
        self.page.on("pageerror", lambda error: self._note(f"error: {error}"))

    def show(self, view: str) -> Any:
        """Go to a view by its address, as if it had been sent; gives the page."""
        self.page.goto("about:blank")
        self.page.goto(f"{self.address}#/{view}")
        self.page.locator("main h1, main h2").first.wait_for()
        return self.page

    def _check(self, url: str) -> None:
        if not unquote(url).startswith(self.allowed):
            self._note(f"asked for {url}")

    def _refuse(self, dialog: Any) -> None:
        self._note(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _listen(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self._note(f"console: {message.text}")

    def _note(self, fault: str) -> None:
        self.faults.append(shown(fault, 300))


@contextmanager
def watch(
    browser: Any, report: Path, clips: Path | None = None, **settings: Any
) -> Iterator[Watched]:
    """A fresh page for the report in this folder; at the end, it must have done nothing wrong.

    `clips`: the folder of the data, from which it may show clips.
    """
    context = browser.new_context(offline=True, **settings)
    context.set_default_timeout(WAIT_MS)
    context.add_init_script(_REPORT_VIOLATIONS)
    try:
        watched = Watched(context, report, clips)
        yield watched
        assert not watched.faults, watched.faults
    finally:
        context.close()


def find_faults(page: Any, *rules: str) -> list[str]:
    """What axe finds serious or critical on the page as it stands, by these rules or by all.

    It may fetch no styles, which the policy forbids to everybody.
    """
    from axe_playwright_python.sync_playwright import Axe

    options: dict[str, Any] = {"resultTypes": ["violations"], "preload": False}
    if rules:
        options["runOnly"] = list(rules)
    axe = Axe()
    if page.evaluate("'axe' in window"):
        axe.axe_script = "0"  # it is there already
    found = axe.run(page, options=options).response["violations"]
    return [
        f"{fault['id']}: {fault['help']}: {node['html'][:200]}"
        for fault in found
        if fault["impact"] in ("serious", "critical")
        for node in fault["nodes"]
    ]
