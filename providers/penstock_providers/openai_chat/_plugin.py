"""A row as a provider that configuration can name. One plugin for each, so that only what is used is made ready.

Not here: the kind `openai`, which is for whoever has no row (`penstock_providers.openai_chat`).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import partial

from penstock.abc import Provider
from penstock.hookspecs import PluginTools, ProviderSpec, hookimpl
from penstock_providers.openai_chat._codec import OpenAIChat
from penstock_providers.openai_chat._options import DialectOptions, options_of
from penstock_providers.openai_chat.dialects import Dialect

__all__ = ["DialectPlugin", "spec_of"]


class DialectPlugin:
    """Offers the provider of one row. `DialectPlugin(Dialect(name="acme", ...))` is all that a row of one's own needs.

    An entry point of the group `penstock.providers.v1` names it by the name of the row, or a program hands it in:
    `open_kernel(plugins=[...])`.
    """

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self.__name__ = dialect.name

    @hookimpl
    def penstock_providers(self) -> Sequence[ProviderSpec]:
        """Offers the provider."""
        return [spec_of(self.dialect, options_of(self.dialect))]


def spec_of(dialect: Dialect, options: type[DialectOptions]) -> ProviderSpec:
    """The provider of that dialect."""
    return ProviderSpec(
        name=dialect.name,
        open=partial(_open, dialect),
        options=options,
        key_variable=dialect.key_variable,
        url_variable=dialect.url_variable,
        needs_key=dialect.needs_key,
    )


def _open(dialect: Dialect, options: DialectOptions, tools: PluginTools) -> AbstractAsyncContextManager[Provider]:
    """A codec holds nothing that would have to be closed."""
    del tools
    return nullcontext(OpenAIChat(options, dialect))
