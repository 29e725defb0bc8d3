"""`[cache] store = "memory"`: the memory of the process is all there is, and is forgotten with it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from penstock.hookspecs import CacheStoreSpec, PluginTools, hookimpl

__all__ = ["penstock_caches"]


@asynccontextmanager
async def _open(_options: None, _tools: PluginTools) -> AsyncGenerator[None]:
    yield None


@hookimpl
def penstock_caches() -> Sequence[CacheStoreSpec]:
    """One store, which is none."""
    return (CacheStoreSpec("memory", _open),)
