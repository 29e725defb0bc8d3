"""How a provider is connected to: what of its table is for the kernel's own transport, and what is wrong with it.

Checked when the configuration is read, and once more when the kernel opens: certificates are files, which come and go.
Not here: the transport itself (`_transport`).
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from ssl import SSLError
from typing import Any

from penstock._config import ProviderConfig
from penstock._config_mistakes import Mistakes, join
from penstock._key_shapes import path_without_keys
from penstock._transport.trust import trust

__all__ = ["CONNECTION_KEYS", "check_connection", "connection_settings", "read_ca_file"]

CONNECTION_KEYS = ("ca_file", "trust_env", "http2")
"""Keys of [providers.*] that say how it is connected to."""
NO_CERTIFICATE = "holds no certificate in PEM form"


def read_ca_file(table: Mapping[str, Any], folder: Path) -> Path | None:
    """The file that a provider's table names; a relative path begins at the configuration's own folder."""
    named: object = table.get("ca_file")
    return folder / named if isinstance(named, str) else None


def check_connection(provider: ProviderConfig, mistakes: Mistakes) -> None:
    """Adds what would keep every connection to the provider from being made. Reads its file of certificates."""
    path = join("providers", provider.name)
    if provider.ca_file is not None and (problem := _problem_of(provider.ca_file)):
        mistakes.add(join(path, "ca_file"), problem)
    if provider.http2 and find_spec("h2") is None:
        mistakes.add(join(path, "http2"), "needs a package that is not installed: pip install 'penstock[http2]'")


def connection_settings(provider: ProviderConfig) -> tuple[str, ...]:
    """The names of those that are not as they would be if nobody had said anything."""
    stated = (provider.ca_file is not None, not provider.trust_env, provider.http2)
    return tuple(key for key, is_stated in zip(CONNECTION_KEYS, stated, strict=True) if is_stated)


def _problem_of(file: Path) -> str | None:
    told = path_without_keys(str(file))
    try:
        # A folder, a pipe or a device would say so late, or never.
        if file.exists() and not file.is_file():
            return f"{told} is not a file"
        context = trust(str(file), {})
    except SSLError:
        return f"the file {told} {NO_CERTIFICATE}"
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a path"
        return f"the file {told} cannot be read: {reason}"
    # Lists of revoked certificates are read without complaint, and vouch for nobody.
    return None if context.cert_store_stats()["x509"] else f"the file {told} {NO_CERTIFICATE}"
