"""What is installed: the entry points of penstock's two groups, and which of them may be used at all.

Nothing is imported here. Not here: importing and registering (`_discovery`).
"""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Callable, Collection, Iterable
from typing import Literal, NamedTuple, TypeAlias

import attrs

from penstock.errors import PluginError, PluginLoadError

__all__ = ["GROUPS", "EntryPoints", "Group", "Installed", "PluginInfo", "PluginStatus", "installed_plugins"]

Group: TypeAlias = Literal["providers", "plugins", "program"]
"""`program`: handed in by the program itself, not installed."""
PluginStatus: TypeAlias = Literal["installed", "loaded", "broken", "blocked", "shadowed"]
"""Installed: not imported, for nothing uses it. Blocked: `[plugins]` keeps it out. Shadowed: its name is taken."""
EntryPoints: TypeAlias = Callable[[str], Iterable[importlib.metadata.EntryPoint]]

OWN_DISTRIBUTION = "penstock"
GROUPS: dict[Literal["providers", "plugins"], str] = {
    "providers": "penstock.providers.v1",
    "plugins": "penstock.plugins.v1",
}


@attrs.frozen(kw_only=True)
class PluginInfo:
    """A plugin as a list shows it."""

    name: str
    """The name used in configuration."""
    group: Group
    distribution: str
    version: str
    status: PluginStatus
    problem: PluginError | None = None

    def __str__(self) -> str:
        return f"{self.name} ({self.distribution} {self.version})".replace(" )", ")")


class _Release(NamedTuple):
    """What a distribution calls itself."""

    distribution: str
    version: str


@attrs.define(eq=False)
class Installed:
    """An installed entry point and how far it came."""

    info: PluginInfo
    entry_point: importlib.metadata.EntryPoint

    @property
    def own(self) -> bool:
        """True for what penstock itself ships."""
        return _same(self.info.distribution, OWN_DISTRIBUTION)

    def named_by(self, names: Collection[str]) -> bool:
        """True where one of `names` is its own or its distribution's."""
        return any(_same(name, self.info.name) or _same(name, self.info.distribution) for name in names)

    def now(self, status: PluginStatus, problem: PluginError | None = None) -> None:
        """It came to this."""
        self.info = attrs.evolve(self.info, status=status, problem=problem)


def installed_plugins(
    *, discover: bool, allow: Collection[str] | None, entry_points: EntryPoints | None = None
) -> list[Installed]:
    """All entry points, penstock's own first.

    Laws: penstock's own are never blocked, and their names cannot be taken: a third party's plugin of the same name
    is shadowed, with a problem that says so. Where two third parties use one name, neither has it.
    """
    find = entry_points or _one_look_at_all()
    # Most plugins come several to a distribution, whose metadata may be long: each is read once.
    releases: dict[int, _Release] = {}
    found = [
        Installed(_info(entry_point, group, releases), entry_point)
        for group, full_name in GROUPS.items()
        for entry_point in find(full_name)
    ]
    found.sort(key=lambda each: (not each.own, each.info.group, each.info.name, each.info.distribution))
    for each in found:
        if not each.own and not (discover and (allow is None or each.named_by(allow))):
            each.now("blocked")
    _settle_names(found)
    return found


def _settle_names(found: list[Installed]) -> None:
    by_name: dict[tuple[Group, str], list[Installed]] = {}
    for each in found:
        if each.info.status != "blocked":
            by_name.setdefault((each.info.group, each.info.name), []).append(each)
    for namesakes in by_name.values():
        if len(namesakes) < 2:
            continue
        own = [each for each in namesakes if each.own]
        for each in namesakes:
            if each not in own[:1]:
                each.now("shadowed", _shadowed(each.info, namesakes, taken=bool(own)))


def _shadowed(info: PluginInfo, namesakes: list[Installed], *, taken: bool) -> PluginLoadError:
    if taken:
        return PluginLoadError(
            f"{info} is not used: {info.name!r} is the name of penstock's own; it must be offered under another"
        )
    others = " and ".join(sorted({each.info.distribution for each in namesakes}))
    return PluginLoadError(
        f"{info} is not used: {others} offer a plugin of that name; uninstall one, or allow only one in [plugins]"
    )


def _one_look_at_all() -> EntryPoints:
    everything = importlib.metadata.entry_points()
    return lambda group: everything.select(group=group)


def _info(entry_point: importlib.metadata.EntryPoint, group: Group, releases: dict[int, _Release]) -> PluginInfo:
    offered_by = entry_point.dist
    release = releases.get(id(offered_by))
    if release is None:
        release = releases[id(offered_by)] = _release(offered_by)
    return PluginInfo(
        name=entry_point.name,
        group=group,
        distribution=release.distribution,
        version=release.version,
        status="installed",
    )


def _release(distribution: importlib.metadata.Distribution | None) -> _Release:
    try:
        if distribution is not None:
            metadata = distribution.metadata
            # A damaged installation may have metadata without a name, for all that the types say.
            return _Release(str(metadata["Name"] or "unknown"), str(metadata["Version"] or ""))
    except Exception:  # noqa: BLE001, S110  # damaged metadata of one distribution hides none of the others
        pass
    return _Release("unknown", "")


def _same(name: str, other: str) -> bool:
    return _folded(name) == _folded(other)


def _folded(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).casefold()
