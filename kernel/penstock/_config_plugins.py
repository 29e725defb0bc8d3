"""[plugins]: which may be used, and the options of each. Names that no plugin has may come with the program's own.

Not here: the options themselves (`_config_providers`), and loading (`_discovery`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import attrs

from penstock._config import PluginsConfig
from penstock._config_mistakes import Mistakes, join, shown
from penstock._config_tables import tables_reader
from penstock._discovery import PluginHost
from penstock._nearest import did_you_mean, is_slip
from penstock.errors import PluginError

__all__ = ["read_plugins"]


@attrs.frozen(kw_only=True)
class _Switches:
    discover: bool = True
    allow: tuple[str, ...] | None = None


SWITCHES = ("discover", "allow")


def read_plugins(
    table: Mapping[str, Any], host_for: Callable[[PluginsConfig], PluginHost], mistakes: Mistakes
) -> tuple[PluginsConfig, PluginHost]:
    """What [plugins] says, and the plugins that it lets in."""
    read = tables_reader().read(_Switches, {key: table[key] for key in SWITCHES if key in table}, "plugins", mistakes)
    options: dict[str, dict[str, Any]] = {}
    for name, own in table.items():
        if name in SWITCHES:
            continue
        if isinstance(own, dict):
            options[name] = cast("dict[str, Any]", own)
        else:
            path = join("plugins", name)
            says = f"{shown(own, path)}: is neither one of {', '.join(SWITCHES)} nor a plugin's table"
            if isinstance(own, str):
                says = f"{says} (a key goes into api_key of [providers.*])"
            mistakes.add(path, says + did_you_mean(name, SWITCHES))
    # Where it cannot be told which plugins are wanted, no third party's code is run.
    switches = read or _Switches(discover=False)
    settings = PluginsConfig(discover=switches.discover, allow=switches.allow, options=options)
    host = host_for(settings)
    for name, own in options.items():
        _check_named(name, own, host, mistakes)
    return settings, host


def _check_named(name: str, options: Mapping[str, Any], host: PluginHost, mistakes: Mistakes) -> None:
    path = join("plugins", name)
    if name in host.kinds():
        return
    known = host.plugin_names()
    if name not in known:
        if is_slip(name, known):
            mistakes.add(path, f"there is no plugin of that name{did_you_mean(name, known)}")
        return
    try:
        host.load_plugin(name)
    except PluginError as problem:
        mistakes.add(path, str(problem))
        return
    for key in options:
        mistakes.add(join(path, key), f"is unknown: the plugin {shown(name)} takes no options")
