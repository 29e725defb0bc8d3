"""The `acme` provider for penstock."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, nullcontext

import attrs

from acme_penstock.codec import Acme
from penstock.abc import Provider
from penstock.hookspecs import PluginTools, ProviderSpec, hookimpl

__all__ = ["Acme", "AcmeOptions", "penstock_providers"]


@attrs.frozen
class AcmeOptions:
    """What `[providers.*]` of kind `acme` may say."""

    region: str = attrs.field(validator=attrs.validators.matches_re(r"[a-z]{2}"))
    base_url: str = "https://{region}.acme.example"


def _open(options: AcmeOptions, tools: PluginTools) -> AbstractAsyncContextManager[Provider]:
    del tools
    return nullcontext(Acme(options.base_url.replace("{region}", options.region)))


@hookimpl
def penstock_providers() -> Sequence[ProviderSpec]:
    """Offers the provider."""
    return [
        ProviderSpec(
            name="acme", open=_open, options=AcmeOptions, key_variable="ACME_KEY", url_variable="ACME_BASE_URL"
        )
    ]
