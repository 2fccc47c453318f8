"""The base of every section of the configuration, and the check of names in it."""

from __future__ import annotations

import re

from pydantic import AfterValidator, BaseModel, ConfigDict

__all__ = ["Section", "check_name"]


class Section(BaseModel):
    """Base of all sections: frozen, unknown keys refused, field docstrings are documentation."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )


def check_name(pattern: str, words: str) -> AfterValidator:
    """Refuse a text that is not of the pattern, with `words` that say which characters it may have.

    For `Annotated[str, check_name(...)]`.
    """

    def check(text: str) -> str:
        if re.fullmatch(pattern, text) is None:
            raise ValueError(words)
        return text

    return AfterValidator(check)
