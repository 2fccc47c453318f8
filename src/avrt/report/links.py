"""Addresses inside the page: what stands behind a number, as a filter of its items."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote, urlencode

__all__ = ["items_link"]


def items_link(**filters: str | Sequence[str]) -> str:
    """The items that all filters hold for, such as `origin="dataset", type="Which"`; of several
    values of one filter, one.
    """
    query = urlencode(filters, doseq=True, quote_via=quote, errors="replace")
    return f"#/items?{query}"
