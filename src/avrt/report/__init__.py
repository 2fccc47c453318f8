"""The report: one static page, Markdown tables and figures, from the run directory alone."""

from __future__ import annotations

from avrt.report.page import plan, run

__all__ = ["plan", "run"]
