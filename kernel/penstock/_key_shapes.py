"""What looks like a credential by its shape alone: for texts in which nobody meant to put one.

A guess, so it only ever hides. Not here: what is secret by its place (`_config_mistakes.is_secret`), and credentials
that are known (`_edge`).
"""

from __future__ import annotations

import re

__all__ = ["looks_like_key", "without_keys"]

MARK = "[key]"
_NAMED = re.compile(
    r"(?<![A-Za-z0-9])(?:"
    r"(?:sk|pk|rk|gsk)[-_][A-Za-z0-9_-]{6,}"
    r"|(?:xai|pplx|nvapi|glpat|csk)-[A-Za-z0-9_-]{16,}"
    r"|(?:ghp|gho|ghs|github_pat|hf|fw|r8)_(?=\w*[0-9])\w{16,}"
    r"|AIza[A-Za-z0-9_-]{16,}"
    r"|eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_.-]+"
    r")"
)
"""As vendors begin theirs, and tokens that are JSON inside."""
_RUN = re.compile(r"(?<![A-Za-z0-9])(?=[0-9]*[A-Za-z])(?=[A-Za-z]*[0-9])[A-Za-z0-9]{20,}(?![A-Za-z0-9])")
"""Twenty letters and digits in a row, both among them: names of models, files and variables are broken by signs."""
_BEARER = re.compile(r"(bearer\s+)\S+", re.IGNORECASE)
_ASSIGNED = re.compile(
    r"((?:key|token|secret|password|passwd|credential|authorization)[\"']?\s*[=:]\s*)(?!bearer\b)\S+", re.IGNORECASE
)
"""`password=...`, wherever it stands in a text."""


def without_keys(text: str) -> str:
    """The text with a mark in the place of each word that may be a credential."""
    for shape in (_BEARER, _ASSIGNED):
        text = shape.sub(rf"\1{MARK}", text)
    for shape in (_NAMED, _RUN):
        text = shape.sub(MARK, text)
    return text


def looks_like_key(text: str) -> bool:
    """True of what begins as the keys of vendors do: sure enough to refuse it as a name."""
    return _NAMED.match(text) is not None
