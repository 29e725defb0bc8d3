"""Credentials: where they come from, and a value that holds one without ever showing it.

Not here: how a credential goes into a request (`Provider.authorize`), and which one a provider takes (configuration).
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NoReturn, Protocol, Self, TypeAlias

from penstock._foreign import interruptible, let_through
from penstock._key_shapes import path_without_keys, without_keys
from penstock.errors import ConfigError

__all__ = ["BadSecretError", "Secret", "open_secret"]

logger = logging.getLogger("penstock")

MOST_BYTES = 65_536
"""No key is longer; what is longer is the wrong file."""
_VISIBLE = re.compile(r"[\x21-\x7e]+")
_VALUE = re.compile(r"[\x21-\x7e]([\x20-\x7e\t]*[\x21-\x7e])?")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
"""Of a variable, as shells have it."""
_CAPITALS = re.compile(r"[A-Z_][A-Z0-9_]*")
"""Of one, as most are written: no key is."""
_SHELL = re.compile(r"\$\{?([A-Za-z_][A-Za-z0-9_]*)\}?")
_FileMark: TypeAlias = tuple[int, int, int]
_Check: TypeAlias = Callable[[str, str], str]
"""Gives back what can be sent, and raises BadSecretError of all else; told what it is, where it is no literal."""


class BadSecretError(ValueError):
    """Says what is wrong with a credential or its source, never the credential."""


class _Source(Protocol):
    """Where a credential comes from. Raises BadSecretError where there is none that can be sent."""

    described: str

    def current(self) -> str: ...

    def again(self) -> str: ...


class Secret:
    """A credential. Only `reveal` gives it; printing, comparing, copying and pickling do not.

    Laws: a key in a file is read again when the file has changed; where the new content is no key, the last good one
    stays, with a warning. Two secrets are equal only if they are the same object.
    """

    __slots__ = ("_source",)

    def __init__(self, source: _Source) -> None:
        self._source = source

    def reveal(self) -> str:
        """The credential as it is now. Raises ConfigError where a callable gives none that can be sent."""
        try:
            return self._source.current()
        except BadSecretError as error:
            raise ConfigError(f"the key from {self._source.described} cannot be used: {error}") from None

    def refresh(self) -> bool:
        """Reads it again, for a provider has refused it. True where it is another one than before."""
        try:
            before = self._source.current()
            return self._source.again() != before
        except BadSecretError as error:
            logger.warning("the key from %s cannot be read again: %s", self._source.described, error)
            return False

    def __repr__(self) -> str:
        return f"Secret({self._source.described})"

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not pickled: it would leave the process")


class _Literal:
    described = "the configuration itself"

    def __init__(self, key: str, check: _Check) -> None:
        self._key = check(key, "")

    def current(self) -> str:
        return self._key

    def again(self) -> str:
        return self._key


class _Variable:
    def __init__(self, name: str, environ: Mapping[str, str], check: _Check) -> None:
        self.described = f"env:{name}"
        self._check = check
        self._name = name
        self._shows = _NAME.fullmatch(name) is not None and _may_be_shown(name)
        self._environ = environ
        self._key = self.again()

    def current(self) -> str:
        return self._key

    def again(self) -> str:
        value = self._environ.get(self._name)
        if not value and not self._shows:
            raise BadSecretError(
                'no environment variable has the name that stands behind "env:"; it is not shown, for it may be the key'
                " itself, which goes without it"
            )
        if not value:
            state = "is not set" if value is None else "is empty"
            raise BadSecretError(f"the environment variable {self._name} {state}")
        self._key = self._check(value, f"the value of {self._name}")
        return self._key


class _File:
    def __init__(self, path: Path, shown: Path, check: _Check) -> None:
        self._shown = str(shown)
        self.described = f"file:{self._shown}"
        self._check = check
        self._path = path
        self._mark: _FileMark | None = None
        self._key = self.again()

    def current(self) -> str:
        mark = self._look()
        if mark is None or mark == self._mark:
            return self._key
        try:
            return self.again()
        except BadSecretError as error:
            self._mark = mark
            logger.warning("%s has changed, but the key read before stays in use: %s", self.described, error)
            return self._key

    def again(self) -> str:
        # The mark is taken first: a file that is written between the two is then read once more.
        mark = self._look()
        if self._path.is_fifo():
            # Opening one waits for whoever writes to it, and what was read once is gone.
            raise BadSecretError(f"{self._shown} is a pipe, which cannot be read again")
        try:
            with self._path.open("rb") as file:
                content = file.read(MOST_BYTES + 1)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not a path"
            hint = "" if self._shown == str(self._path) else ' (a key itself goes without "file:")'
            raise BadSecretError(f"the file {self._shown} cannot be read: {reason}{hint}") from None
        if len(content) > MOST_BYTES:
            raise BadSecretError(f"the file {self._shown} is longer than any key")
        # Editors and `echo` end a file with a newline: that is not part of the key.
        self._key = self._check(content.decode("utf-8", "replace").strip(), f"the content of {self._shown}")
        self._mark = mark
        return self._key

    def _look(self) -> _FileMark | None:
        try:
            found = self._path.stat()
        except (OSError, ValueError):
            return None
        return (found.st_mtime_ns, found.st_size, found.st_ino)


class _Callable:
    """Asked each time, for it may know of rotation; so it must be quick."""

    described = "a callable"

    def __init__(self, give: Callable[[], object], check: _Check) -> None:
        self._give = give
        self._check = check

    @interruptible
    def current(self) -> str:
        try:
            key = self._give()
        except BaseException as error:  # noqa: BLE001  # foreign code: whatever it raises is told by name
            let_through(error)
            # Its message is not ours to show: it may hold what it was made from.
            raise BadSecretError(f"the callable raised {type(error).__name__}") from None
        if not isinstance(key, str):
            raise BadSecretError(f"the callable returned {type(key).__name__}, not a string")
        return self._check(key, "what the callable returned")

    def again(self) -> str:
        return self.current()


def open_secret(
    source: object, *, environ: Mapping[str, str] | None = None, folder: Path | None = None, of_header: bool = False
) -> Secret:
    """The secret from "env:NAME", "file:PATH" (relative to `folder`), the key itself, or a callable that gives it.

    `of_header`: it is the whole value of a header, and may hold spaces: "Bearer ...". Raises BadSecretError that says
    what to do.
    """
    check = _checked_value if of_header else _checked_key
    if isinstance(source, Secret):
        return source
    if callable(source):
        return Secret(_Callable(source, check))
    if not isinstance(source, str):
        raise BadSecretError('a key is a string: "env:NAME", "file:PATH" or the key itself')
    scheme, _, rest = source.partition(":")
    if scheme == "env":
        if not rest or "=" in rest or "\0" in rest:
            raise BadSecretError('after "env:" comes the name of an environment variable')
        return Secret(_Variable(rest, os.environ if environ is None else environ, check))
    if scheme == "file":
        if not rest:
            raise BadSecretError('after "file:" comes the path of a file')
        folder = folder or Path()
        return Secret(_File(folder / rest, folder / path_without_keys(rest), check))
    if variable := _SHELL.fullmatch(source):
        name = variable[1] if _may_be_shown(variable[1]) else "NAME"
        raise BadSecretError(f'variables are not expanded here; say "env:{name}"')
    return Secret(_Literal(source, check))


def _may_be_shown(variable: str) -> bool:
    return _CAPITALS.fullmatch(variable) is not None or without_keys(variable) == variable


def _checked_key(key: str, what: str) -> str:
    what = what or "the key"
    if not key:
        raise BadSecretError(f"{what} is empty")
    if any(character.isspace() for character in key):
        raise BadSecretError(f"{what} holds a space or a line break, which no key does")
    if not _VISIBLE.fullmatch(key):
        raise BadSecretError(f"{what} holds a character that cannot be sent in a header: keys are plain ASCII")
    return key


def _checked_value(value: str, what: str) -> str:
    what = what or "the value"
    if not value.strip():
        raise BadSecretError(f"{what} is empty")
    if not _VALUE.fullmatch(value):
        raise BadSecretError(
            f"{what} holds what no header does: a line break, a space at its beginning or end, or a character that is"
            " not plain ASCII"
        )
    return value
