"""The command line: `main` is the entry point of the command `avrt`."""

from __future__ import annotations

from avrt.cli.main import cli, main

__all__ = ["cli", "main"]
