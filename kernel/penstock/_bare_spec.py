"""A spec that the program hands in without a plugin around it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from penstock import hookspecs
from penstock.hookspecs import CacheStoreSpec, LedgerSpec, ProviderSpec, ValidatorSpec

__all__ = ["Offer"]

S = TypeVar("S", ProviderSpec, LedgerSpec, CacheStoreSpec, ValidatorSpec)


class Offer:
    """The plugin around it: of its own sort it offers that one, of every other none."""

    def __init__(self, spec: ProviderSpec | LedgerSpec | CacheStoreSpec | ValidatorSpec) -> None:
        self._spec = spec
        self.__name__ = spec.name

    @hookspecs.hookimpl
    def penstock_providers(self) -> Sequence[ProviderSpec]:
        return self._of(ProviderSpec)

    @hookspecs.hookimpl
    def penstock_ledgers(self) -> Sequence[LedgerSpec]:
        return self._of(LedgerSpec)

    @hookspecs.hookimpl
    def penstock_caches(self) -> Sequence[CacheStoreSpec]:
        return self._of(CacheStoreSpec)

    @hookspecs.hookimpl
    def penstock_validators(self) -> Sequence[ValidatorSpec]:
        return self._of(ValidatorSpec)

    def _of(self, kind: type[S]) -> tuple[S, ...]:
        return (self._spec,) if isinstance(self._spec, kind) else ()
