"""Whether there is anything to look at: a command about what is in a store does not make its file.

Not here: opening stores, and those that are kept in no file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from penstock._config import Config, LedgerConfig
from penstock._config_stores import Ready
from penstock.errors import CacheStoreError, ConfigError

__all__ = ["check_there"]


def check_there(config: Config, ready: Ready[Any, Any]) -> None:
    """Raises ConfigError where there is no file of the ledger, CacheStoreError where there is none of the cache.

    A folder that is not there, and a file that cannot be looked at, are left to the store: it tells what is in the way.
    """
    file = ready.file
    if file is None or _may_be_opened(file):
        return
    is_ledger = isinstance(ready.config, LedgerConfig)
    section = "ledger" if is_ledger else "cache"
    says = (
        f"there is no {section} to look at: {file.absolute()} does not exist. {_origin(config, ready, section)};"
        f" correct it where it names another file, or wait until an app has used the {section}, which makes it"
    )
    raise (ConfigError if is_ledger else CacheStoreError)(says)


def _may_be_opened(file: Path) -> bool:
    try:
        file.stat()
    except FileNotFoundError:
        return not file.parent.is_dir()
    except OSError:
        return True
    return True


def _origin(config: Config, ready: Ready[Any, Any], section: str) -> str:
    """Who says that the file is there."""
    source = "" if config.source is None else f" of {config.source}"
    if "path" in ready.config.options:
        return f"So says path in [{section}]{source}"
    beside = "in the folder in which the command runs" if config.source is None else f"beside {config.source}"
    return f"Its name is the one that path in [{section}] has by default, {beside}"
