"""What looks like a credential by its shape alone: for texts in which nobody meant to put one.

A guess, from what vendors begin their keys with and from letters and digits that make no words: names are made of
words, with signs between them. Not here: what is secret by its place (`_config_mistakes.is_secret`), and credentials
that are known (`_edge`).
"""

from __future__ import annotations

import re

__all__ = ["looks_like_key", "name_without_keys", "path_without_keys", "without_keys"]

MARK = "[key]"
_UUID = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_SURE = re.compile(
    r"(?<![A-Za-z0-9])(?:"
    r"AIza[A-Za-z0-9_-]{30,}|AQ\.[A-Za-z0-9_-]{30,}|ya29\.[A-Za-z0-9_-]{30,}"
    r"|(?:xai|gsk|csk|pplx)[-_][A-Za-z0-9]{40,}"
    r"|[prs]k_(?:live|test)_[A-Za-z0-9]{24,}|fw_(?=[a-z0-9]*[A-Z])[A-Za-z0-9]{24,}"
    r"|hf_[A-Za-z0-9]{34,}|r8_[A-Za-z0-9]{36,}|tgp_v1_[A-Za-z0-9_-]{30,}"
    r"|gh[oprsu]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{40,}|glpat-[A-Za-z0-9_-]{20,}"
    rf"|sk-ant-[a-z]+[0-9]+-[A-Za-z0-9_-]{{20,}}|[ps]k-lf-{_UUID}|[ps]k-helicone-[a-z0-9-]{{20,}}"
    r"|ABSK[A-Za-z0-9+/]{40,}=*|dapi[0-9a-f]{32}|[0-9a-f]{32}\.[A-Za-z0-9]{16}(?![A-Za-z0-9])"
    r"|eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_.-]+"
    r")"
)
"""As vendors begin theirs, as long as theirs are, and tokens that are JSON inside."""
_LIKELY = re.compile(r"(?<![A-Za-z0-9])(?:sk|pk|rk|fw|nvapi)[-_]([A-Za-z0-9_-]{16,})")
"""Begins so, too; but names do as well, and only what comes then tells which it is."""
_RUN = re.compile(r"(?<![A-Za-z0-9])[A-Za-z0-9]{20,}(?![A-Za-z0-9])")
_BASE64 = re.compile(r"(?<![A-Za-z0-9+/])(?=[A-Za-z0-9]*[+/])[A-Za-z0-9+/]{40,}={0,2}(?![A-Za-z0-9+/=])")
_HEX = re.compile(r"(?=[0-9]*[a-f])(?=[a-f]*[0-9])[0-9a-f]{20,}|(?=[0-9]*[A-F])(?=[A-F]*[0-9])[0-9A-F]{20,}")
"""Twenty digits and letters up to f: no word, but a key or the id of something."""
_PIECES = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
"""What a name that is written together is made of: "Gpt4oMini" of four."""
_WORDS = re.compile(r"(?:[A-Z][a-z]{3,24}|[a-z]{4,25}|[A-Z]{4,25})(?![a-z])|[0-9]{4,}")
_VOWEL = re.compile(r"[aeiouy0-9]", re.IGNORECASE)
MOST_OUTSIDE_WORDS = 13
"""Characters in parts of a name that mix letters and digits: a version, a size, a date."""
LONGEST_PART = 31
"""Characters without any sign between them, behind what keys begin with."""
LONGEST_ID = 29
"""Characters of an id that is made of small and capital letters and digits."""
_BEARER = re.compile(r"(bearer\s+)\S+", re.IGNORECASE)
_ASSIGNED = re.compile(
    r"((?:key|token|secret|password|passwd|credential|authorization)[\"']?\s*[=:]\s*)(?!bearer\b)\S+", re.IGNORECASE
)
"""`password=...`, wherever it stands in a text."""


def without_keys(text: str, *, ids: bool = False) -> str:
    """The text with a mark in the place of each word that may be a credential.

    `ids`: in this place ids are ordinary (of tenants, of containers), and shown; some keys cannot be told from them.
    """
    return name_without_keys(text if ids else _ASSIGNED.sub(rf"\1{MARK}", text), ids=ids)


def name_without_keys(text: str, *, ids: bool = False) -> str:
    """The same of a name, which may well be "key:openai/0"."""
    text = _BEARER.sub(rf"\1{MARK}", text)
    if not ids:
        text = _BASE64.sub(lambda found: MARK if _is_base64(found[0]) else found[0], text)
    text = _LIKELY.sub(lambda found: MARK if _is_random(found[1]) else found[0], _SURE.sub(MARK, text))
    return _RUN.sub(lambda found: MARK if _is_no_name(found[0], ids=ids) else found[0], text)


def path_without_keys(path: str) -> str:
    """The path of a file that may be a key by mistake: folders have ids for names, and no key has folders."""
    if _BASE64.fullmatch(path) and _is_base64(path):
        return MARK
    folder, slash, name = path.rpartition("/")
    return f"{without_keys(folder, ids=True)}{slash}{without_keys(name)}"


def looks_like_key(text: str) -> bool:
    """True of what nobody would choose as a name: it begins as the keys of vendors do, and goes on at random."""
    likely = _LIKELY.match(text)
    return _SURE.match(text) is not None or (likely is not None and _is_random(likely[1]))


def _is_random(tail: str) -> bool:
    """Whether what comes behind the beginning of a key is one: parts between signs that are no words."""
    parts = re.split(r"[-_]", tail)
    if any(len(part) > LONGEST_PART or _HEX.search(part) or (len(part) >= 16 and _is_mixed(part)) for part in parts):
        return True
    few_signs = len(parts) - 1 <= len(tail) / 10
    return _outside_words(tail) > MOST_OUTSIDE_WORDS or (few_signs and _is_in_pieces(tail, of=3))


def _is_no_name(run: str, *, ids: bool) -> bool:
    """The same of letters and digits in a row, of which nothing tells that they are a key."""
    if ids and (len(run) <= LONGEST_ID or run.islower() or run.isupper()):
        return False
    if _HEX.fullmatch(run) or (_outside_words(run) > MOST_OUTSIDE_WORDS and not run.isalpha()):
        return True
    return len(run) >= 24 and _is_in_pieces(run, of=3.6 if len(run) > LONGEST_PART else 3)


def _is_base64(text: str) -> bool:
    small, capital = (sum(map(test, text)) for test in (str.islower, str.isupper))
    has_folders = any(len(part) > 4 and part.isalpha() and part.islower() for part in re.split(r"[+/]", text))
    return min(small, capital) > len(text) / 10 and not has_folders and _is_in_pieces(text, of=3.6)


def _is_in_pieces(text: str, *, of: float) -> bool:
    """Whether small and capital letters change so often that the pieces are shorter than that: words are longer."""
    cased = not text.islower() and not text.isupper()
    return cased and len(text) < of * len(_PIECES.findall(text))


def _is_mixed(part: str) -> bool:
    return all(any(map(test, part)) for test in (str.islower, str.isupper, str.isdigit))


def _outside_words(text: str) -> int:
    """How many of its characters belong to no word and to no number."""
    parts = [part for part in re.split(r"[-_]", text) if len(part) >= 6 and not part.isdigit()]
    return sum(len(part) for part in parts) - sum(
        len(word) for part in parts for word in _WORDS.findall(part) if _VOWEL.search(word)
    )
