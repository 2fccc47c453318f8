"""The base of every section of the configuration, and the check of names in it."""

from __future__ import annotations

import re
from typing import Any, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationInfo, field_validator

__all__ = ["Section", "check_name"]


class Section(BaseModel):
    """Base of all sections: frozen, unknown keys refused, field docstrings are documentation."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )

    @field_validator("*", mode="before")
    @classmethod
    def _no_switch_is_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse `yes` and `no`, which the library takes for 1 and 0."""
        annotation = cls.model_fields[info.field_name or ""].annotation
        kinds = {annotation, *get_args(annotation)}
        if isinstance(value, bool) and kinds & {int, float} and bool not in kinds:
            raise ValueError("expected a number")
        return value


def check_name(pattern: str, words: str) -> AfterValidator:
    """Refuse a text that is not of the pattern, with `words` that say which characters it may have.

    For `Annotated[str, check_name(...)]`.
    """

    def check(text: str) -> str:
        if re.fullmatch(pattern, text) is None:
            raise ValueError(words)
        return text

    return AfterValidator(check)
