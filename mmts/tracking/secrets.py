"""Passwords, tokens and keys, taken out of whatever is said, recorded or kept."""

from __future__ import annotations

import os
import re
from urllib.parse import quote, unquote

HIDDEN = "***"

# By the last @, since people write passwords that hold @ and / as they are.
_USER_INFO = re.compile(r"(://)[^\s'\"]*@")
_IN_QUERY = re.compile(
    r"([?&][\w.-]*(?:passw(?:or)?d|pwd|token|secret|key|signature|credential)[\w.-]*=)[^&\s'\"]+",
    re.IGNORECASE,
)
_VARIABLE = re.compile(
    r"(?:^|_)(?:PASSWORD|PASSWD|PASS|PASSPHRASE|TOKEN|SECRET|KEY|APIKEY|CREDENTIALS?)(?:_|$)",
    re.IGNORECASE,
)
_SHORTEST = 6
"""Characters of a secret; shorter values are settings, and would make holes in every text."""


def hide_secrets(text: str) -> str:
    """Return a text without the passwords of addresses, and without secrets of the environment.

    Those are the values of variables that are named as one, such as MLFLOW_TRACKING_TOKEN or
    AWS_SECRET_ACCESS_KEY.
    """
    text = _IN_QUERY.sub(rf"\1{HIDDEN}", hide_user(text))
    for secret in _of_environment():
        text = text.replace(secret, HIDDEN)
    return text


def hide_user(text: str) -> str:
    """Return a text without user and password in its addresses."""
    return _USER_INFO.sub(r"\1", text)


def holds_secret(uri: str) -> bool:
    """Tell whether an address holds a user, a password, a token or a key."""
    # The path of a SQLite file may hold an @.
    has_user = not uri.startswith("sqlite") and _USER_INFO.search(uri) is not None
    return has_user or _IN_QUERY.search(uri) is not None


def split_user(uri: str) -> tuple[str, str | None, str | None]:
    """Return an address without user and password, and those, as they are meant."""
    found = _USER_INFO.search(uri)
    if found is None:
        return uri, None, None
    user, _, password = found[0][3:-1].partition(":")
    return hide_user(uri), unquote(user), unquote(password) or None


def _of_environment() -> list[str]:
    # Read here and nowhere else: not to use them, but to know what must not be told.
    values = {value for name, value in os.environ.items() if _VARIABLE.search(name)}
    forms = {form for value in values for form in (value, quote(value, safe=""), unquote(value))}
    # The longest first: one may be a part of another.
    return sorted((form for form in forms if len(form) >= _SHORTEST), key=len, reverse=True)
