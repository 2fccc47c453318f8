"""Secrets: the one place that knows them, and hides them in all that is written or shown.

A secret is the value of an environment variable that an engine names, a key or password among the
settings themselves, or a key in an address. Engines send the true values; the configuration as it
is dumped, the identity of a model, messages and the replies of servers hold `***` in their place.

The decision to question: names decide, such as `api_key` or `password`, and values that begin as
the keys of known services do. A name that merely ends in `key` or `token`, such as `stop_token`,
decides replies and must stay in a call's key.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import quote

__all__ = [
    "MASK",
    "find_keys",
    "find_secrets",
    "hidden_forms",
    "hide",
    "is_secret",
    "is_secret_header",
    "mask",
]

MASK = "***"
SHORTEST = 6
"""Characters of a secret that is hidden in replies; `EMPTY`, `none` or `A` are placeholders, and
words of good replies.
"""
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_ALONE = {
    *("apikey", "password", "passwd", "pwd", "secret", "authorization", "credential"),
    *("credentials", "cookie", "bearer", "sig", "signature"),
}
"""Last words of names of secrets."""
_OWNERS = {
    *("api", "access", "secret", "private", "subscription", "auth", "account", "refresh"),
    *("session", "security", "id", "hf", "bearer", "hub"),
}
"""Words that make a secret of a `key` or `token` behind them."""
_LIKE_A_KEY = re.compile(
    r"(?:sk|pk|rk|gsk|xai|hf|ghp|glpat|nvapi|pplx|r8|fw|csk|github_pat)[-_][-\w.]{8,}"
    r"|(?:AIza|AKIA|eyJ)[-\w.]{12,}|(?:Bearer|Basic|Token) +\S{6,}",
    re.IGNORECASE,
)
_SURELY_A_KEY = re.compile(
    r"\b(?:hf_[A-Za-z0-9]{24,}|sk-[\w-]{24,}|gh[opsu]_[A-Za-z0-9]{24,}|AKIA[0-9A-Z]{16}"
    r"|AIza[\w-]{32,}|nvapi-[\w-]{24,})"
)
_VARIABLE = re.compile(r"\$(\w+|\{\w+\})")
_USER = re.compile(r"(?<=://)(?:[^/?#\s:\[]*:(?!\d+[/?#])\S*|[^/?#\s]*)@")
_PARAMETER = re.compile(r"(?<=[?&])([^=&#\s]+)=([^&#\s]*)")


def is_secret(name: str, value: str) -> bool:
    """Tell whether a setting holds a secret, by its name or the look of its value."""
    words = [word.lower() for word in _WORD.findall(name)] or [""]
    owned = words[-1] in ("key", "token") and (len(words) == 1 or words[-2] in _OWNERS)
    misplaced = name == "api_key_env" and not value.isidentifier()  # the key, not a name for it
    by_name = words[-1] in _ALONE or owned or misplaced
    return bool(value) and (by_name or _LIKE_A_KEY.fullmatch(value.strip()) is not None)


def mask(value: Any, name: str = "") -> Any:
    """Copy settings with `***` in the place of every secret; the rest stays as it is."""
    if isinstance(value, dict):
        return {
            key: _mask_header(key, part) if name == "headers" else mask(part, str(key))
            for key, part in value.items()
        }
    if isinstance(value, list | tuple):
        return type(value)(mask(part, name) for part in value)
    if not isinstance(value, str):
        return value
    if is_secret(name, value):
        return MASK
    if "://" not in value:
        _, at, host = value.rpartition("@")
        return f"{MASK}@{host}" if name == "base_url" and at else value
    text = _USER.sub(f"{MASK}@", value)
    return _PARAMETER.sub(lambda found: f"{found[1]}={mask(found[2], found[1])}", text)


def find_secrets(value: Any, name: str = "") -> Iterator[str]:
    """Yield the secrets that `mask` hides in settings."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield from find_secrets(part, str(key))
    elif isinstance(value, list | tuple):
        for part in value:
            yield from find_secrets(part, name)
    elif isinstance(value, str) and is_secret(name, value):
        yield from (value, value.split()[-1])  # also without `Bearer`
    elif isinstance(value, str) and "://" in value:
        for found in _PARAMETER.finditer(value):
            yield from find_secrets(found[2], found[1])


def is_secret_header(name: str, value: str) -> bool:
    """Tell whether a header holds a secret itself, not the `$NAME` of a variable that does."""
    given = _VARIABLE.sub("", value).strip()
    is_scheme = given != value.strip() and given.isalpha()  # as in `Bearer $NAME`
    return is_secret(name, given) and not is_scheme


def _mask_header(name: str, value: Any) -> Any:
    if not isinstance(value, str):
        return mask(value, name)
    return MASK if is_secret_header(name, value) else value


def hide(text: str, secrets: Iterable[str]) -> str:
    """Replace each secret in a text, in case that a server repeats it."""
    for secret in secrets:
        if secret in text:
            text = text.replace(secret, MASK)
    return text


def hidden_forms(secrets: Iterable[str]) -> tuple[str, ...]:
    """List the forms in which secrets can come back, the longest first; placeholders are none."""
    forms = {
        form
        for secret in secrets
        for form in (secret, quote(secret, safe=""), json.dumps(secret)[1:-1])
    }
    return tuple(sorted((form for form in forms if len(form) >= SHORTEST), key=len, reverse=True))


def find_keys(text: str) -> Iterator[str]:
    """Yield in words where any text holds what can only be a key of a known service."""
    for found in _SURELY_A_KEY.finditer(text):
        yield f"a key ({found.group()[:6]}…)"
