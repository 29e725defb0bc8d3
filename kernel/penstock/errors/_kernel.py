"""What is wrong with a configuration, a plugin or the kernel itself, and not with a call."""

from __future__ import annotations

from collections.abc import Sequence

from penstock.errors._call import PenstockError

__all__ = [
    "ActorFailedError",
    "CacheStoreError",
    "ConfigError",
    "ConfigMistake",
    "KernelClosedError",
    "KernelError",
    "PluginError",
    "PluginLoadError",
    "PluginVersionError",
]


class ConfigMistake:
    """One mistake: `path` in the configuration, and a sentence that says what is wrong and what is valid."""

    __slots__ = ("path", "says")

    def __init__(self, path: str, says: str) -> None:
        self.path = path
        self.says = says

    def __repr__(self) -> str:
        return f"ConfigMistake({self.path!r}, {self.says!r})"

    def __str__(self) -> str:
        return f"{self.path}: {self.says}" if self.path else self.says


class ConfigError(PenstockError):
    """The configuration is wrong. `mistakes` holds all of them; `source` is the file, if any."""

    def __init__(self, mistakes: Sequence[ConfigMistake] | str, *, source: str | None = None) -> None:
        self.mistakes = (ConfigMistake("", mistakes),) if isinstance(mistakes, str) else tuple(mistakes)
        self.source = source
        where = f"{source}: " if source else ""
        lines = [str(mistake) for mistake in self.mistakes]
        if len(lines) == 1:
            super().__init__(where + lines[0])
        else:
            super().__init__(f"{where}{len(lines)} mistakes in the configuration:\n  " + "\n  ".join(lines))


class PluginError(PenstockError):
    """A plugin could not be used; the message names it and its distribution."""


class PluginLoadError(PluginError):
    """A plugin failed to import, to register or to open."""


class PluginVersionError(PluginError):
    """A plugin was written for another version of the plugin interface."""


class CacheStoreError(PluginError):
    """A store of the cache cannot answer now. Its words are shown: they hold no secret and nothing of an answer."""


class KernelError(PenstockError):
    """Something about the kernel itself."""


class KernelClosedError(KernelError):
    """The kernel is shut down or shutting down; the call did not end."""


class ActorFailedError(KernelError):
    """An actor of the kernel broke: a bug in penstock, never the caller's or the provider's fault."""
