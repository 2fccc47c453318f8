"""Look at a run while it works, and at its page: the state from its files, a server on loopback.

Nothing here writes into a run directory.
"""

from __future__ import annotations
