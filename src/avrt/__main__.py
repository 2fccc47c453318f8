"""`python -m avrt`: the same as the command `avrt`."""

from __future__ import annotations

from avrt.cli import main

if __name__ == "__main__":
    main()
