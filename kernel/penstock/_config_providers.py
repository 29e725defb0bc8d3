"""What only a provider's plugin knows of its table: whether the kind exists, its options, its key's variable.

Done when the configuration is read, and once more when the kernel opens: then the plugins that the program hands in
are known too. Not here: opening the provider.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import attrs

from penstock._config import Config, ProviderConfig
from penstock._config_connections import CONNECTION_KEYS, check_connection
from penstock._config_mistakes import Mistakes, join, shown
from penstock._config_structure import plain_reader
from penstock._discovery import PluginHost
from penstock._nearest import did_you_mean, is_slip
from penstock._secrets import BadSecretError, Secret, open_secret
from penstock.errors import PluginError
from penstock.hookspecs import ProviderSpec

__all__ = ["ReadyProvider", "own_options", "read_keys", "ready_providers", "settle_provider"]

logger = logging.getLogger("penstock")

OPTIONS_LATER = frozenset({"limits", "proxy"})
"""Keys of [providers.*] that are the kernel's, once they are built; a plugin may have options of these names."""
KERNEL_KEYS = ("kind", "api_key", "max_connections", *CONNECTION_KEYS, "breaker", "retry_budget", "propagate_trace")


@attrs.frozen
class ReadyProvider:
    """A provider that can be opened: `spec.open(options, tools)`."""

    config: ProviderConfig
    spec: ProviderSpec
    options: Any
    """An instance of the spec's options class."""

    @property
    def base_url(self) -> str | None:
        """Where it is spoken to, as its options say; None where they do not."""
        url = getattr(self.options, "base_url", None)
        return url if isinstance(url, str) and url else None

    @property
    def address(self) -> str:
        """Host and port of that; "" where it is not known."""
        return urlsplit(self.base_url or "").netloc.lower()

    @property
    def secret(self) -> Secret | None:
        """None: it needs none."""
        return self.config.secrets[0] if self.config.secrets else None


def ready_providers(
    config: Config, host: PluginHost, *, environ: Mapping[str, str] | None = None, connects: bool = True
) -> dict[str, ReadyProvider]:
    """All providers of the configuration. Raises ConfigError where their plugins do not take what it says.

    Loads all plugins that are enabled, so that none is imported in the middle of a call. `connects`: whether it is the
    kernel's own transport that connects to them, which takes settings of theirs.
    """
    mistakes = Mistakes()
    host.load_plugins()
    ready: dict[str, ReadyProvider] = {}
    for name, provider in config.providers.items():
        if connects:
            check_connection(provider, mistakes)
        settled = settle_provider(provider, config.plugins.options, host, mistakes, environ=environ)
        if settled is not None:
            ready[name] = settled
        elif provider.kind not in host.kinds():
            mistakes.add(join(join("providers", name), "kind"), _no_such_kind(provider.kind, host))
    known = host.plugin_names()
    for name in config.plugins.options:
        if name not in known:
            mistakes.add(join("plugins", name), f"there is no plugin of that name{did_you_mean(name, known)}")
    mistakes.end(str(config.source) if config.source else None)
    return ready


def read_keys(
    table: Mapping[str, Any], path: str, environ: Mapping[str, str], folder: Path, mistakes: Mistakes
) -> tuple[Secret, ...]:
    """The key that a provider's table names; none where it names none."""
    if "api_key" not in table:
        return ()
    path = join(path, "api_key")
    source: object = table["api_key"]
    listed = cast("list[object]", source) if isinstance(source, list) else [source]
    if not listed:
        mistakes.add(path, "an array of keys holds at least one")
    secrets: list[Secret] = []
    for place, each in enumerate(listed):
        try:
            secrets.append(open_secret(each, environ=environ, folder=folder))
        except BadSecretError as error:
            mistakes.add(join(path, place) if isinstance(source, list) else path, str(error))
    if len(listed) > 1 and len(secrets) == len(listed):
        logger.warning("%s: the first of %d keys is used; they are not rotated in this version", path, len(listed))
    return tuple(secrets[:1])


def own_options(table: Mapping[str, Any], ca_file: Path | None) -> dict[str, Any]:
    """What a provider's table may mean for its plugin: all but the kernel's, and what both may need to know."""
    options = {key: value for key, value in table.items() if key not in KERNEL_KEYS or key in CONNECTION_KEYS}
    # Nobody but the kernel knows where a relative path begins.
    return options if ca_file is None else {**options, "ca_file": str(ca_file)}


def settle_provider(
    provider: ProviderConfig,
    plugin_options: Mapping[str, dict[str, Any]],
    host: PluginHost,
    mistakes: Mistakes,
    *,
    environ: Mapping[str, str] | None = None,
) -> ReadyProvider | None:
    """The provider with key and options; None where there are mistakes, or its kind is not known (yet)."""
    path = join("providers", provider.name)
    if provider.kind not in host.kinds():
        if is_slip(provider.kind, host.kinds()):
            mistakes.add(join(path, "kind"), _no_such_kind(provider.kind, host))
        return None
    try:
        spec = host.provider_spec(provider.kind)
    except PluginError as problem:
        mistakes.add(join(path, "kind"), f"{shown(provider.kind)}: {problem}")
        return None
    before = len(mistakes)
    shared = plugin_options.get(provider.kind, {})
    if provider.deferred:
        provider = _settled(provider, shared, spec, mistakes, os.environ if environ is None else environ)
    options = _options(provider, shared, spec, mistakes)
    return ReadyProvider(provider, spec, options) if len(mistakes) == before else None


def _settled(
    provider: ProviderConfig,
    shared: Mapping[str, Any],
    spec: ProviderSpec,
    mistakes: Mistakes,
    environ: Mapping[str, str],
) -> ProviderConfig:
    """The provider with what the environment says of it: its address and its key, where the tables do not."""
    options = dict(provider.options)
    own_url = "base_url" in options or "base_url" in shared
    url = environ.get(spec.url_variable, "") if spec.url_variable else ""
    if url and not own_url:
        options["base_url"] = url
    provider = attrs.evolve(provider, options=options, deferred=False)
    if provider.secrets:
        return provider
    # A second provider of a kind, at an address of its own, is somebody else: it is not sent the key of the first.
    stranger = own_url and provider.name != provider.kind
    path = join(join("providers", provider.name), "api_key")
    if spec.key_variable and environ.get(spec.key_variable) and not stranger:
        try:
            return attrs.evolve(provider, secrets=(open_secret(f"env:{spec.key_variable}", environ=environ),))
        except BadSecretError as error:
            mistakes.add(path, str(error))
    elif spec.needs_key and not (own_url or url):
        variable = spec.key_variable
        how = f"set {variable} in the environment, or say" if variable else "say"
        mistakes.add(path, f'the key is missing: {how} api_key = "env:{variable or "NAME"}" or "file:PATH" here')
    return provider


def _options(provider: ProviderConfig, shared: Mapping[str, Any], spec: ProviderSpec, mistakes: Mistakes) -> object:
    """An instance of the spec's options class, of the plugin's own table with the provider's laid over it."""
    path, shared_path = join("providers", provider.name), join("plugins", provider.kind)
    fields: tuple[attrs.Attribute[Any], ...] = attrs.fields(spec.options) if attrs.has(spec.options) else ()
    known = {field.name for field in fields}
    # Its own connections are to be made as ours are, where it has options for that: it is told what we are told.
    own = {key: value for key, value in provider.options.items() if key in known or key not in CONNECTION_KEYS}
    table = {**shared, **own}

    def origin(key: str) -> str:
        return join(shared_path if key in shared and key not in own else path, key)

    if "base_url" in table:
        _check_url(table["base_url"], origin("base_url"), mistakes)
    if spec.options is type(None):
        for key in table:
            mistakes.add(origin(key), f"is unknown: the kind {shown(provider.kind)} takes no options")
        return None
    for key in own:
        # Told here, for the reader of the plugin's options knows no names but those.
        if known and key not in known and key not in OPTIONS_LATER:
            mistakes.add(join(path, key), f"is unknown{did_you_mean(key, {*known, *KERNEL_KEYS})}")
    reader = attrs.evolve(plain_reader(), keys_later={spec.options: OPTIONS_LATER})
    options: Any = reader.read(cast("Any", spec.options), table, path, mistakes, origin=origin)
    return options


def _check_url(url: object, path: str, mistakes: Mistakes) -> None:
    if not isinstance(url, str):
        return  # the options class says so
    try:
        parts = urlsplit(url)
        port_is_one = parts.port is None or parts.port > 0
    except ValueError:
        mistakes.add(path, f"{shown(url, path)}: must be a URL")
        return
    if parts.scheme not in {"http", "https"} or not parts.hostname or not port_is_one or not url.isprintable():
        mistakes.add(path, f'{shown(url, path)}: must be a URL such as "https://api.example.com/v1"')
    elif parts.username is not None or parts.password is not None:
        mistakes.add(path, "must not hold a name or password; the key belongs into api_key")


def _no_such_kind(kind: str, host: PluginHost) -> str:
    return f"{shown(kind)}: no installed plugin offers providers of this kind{did_you_mean(kind, host.kinds())}"
