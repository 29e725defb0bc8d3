"""What each target costs: the price its configuration gives, else what the price plugins know.

One order of precedence, the same for a kernel and for `penstock check`: the `price` of the target in TOML, plugins the
program hands in, third parties, penstock's own (where genai-prices is installed its prices, else the snapshot). Not
here: what a usage costs at a price (policy.money).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from penstock._config import Config, TargetConfig
from penstock._config_providers import ReadyProvider
from penstock._discovery import PluginHost
from penstock.types import Price

__all__ = ["PriceBook", "configured_targets"]


def configured_targets(config: Config) -> list[str]:
    """Every target there is a way to: those of routes in the order of their cascades, then the other declared ones."""
    staged = (stage.target for route in config.routes.values() for stage in route.stages)
    return list(dict.fromkeys([*staged, *config.targets]))


class PriceBook:
    """Asks the plugins for all configured targets when it is made: a price list may take a while to read.

    What is not configured is looked up when it is first called.
    """

    def __init__(
        self, config: Config, ready: Mapping[str, ReadyProvider], host: PluginHost, wall: Callable[[], float]
    ) -> None:
        self._ready = ready
        self._host = host
        self._wall = wall
        self._known = {
            target.name: self._look_up(target) for target in map(config.resolve_target, configured_targets(config))
        }

    def price(self, target: TargetConfig) -> Price | None:
        """The price of the target; None where nothing knows one."""
        return self._known[target.name] if target.name in self._known else self._look_up(target)

    def _look_up(self, target: TargetConfig) -> Price | None:
        if target.price is not None:
            return target.price
        provider = self._ready[target.provider]
        return self._host.price(target.model, provider.config.kind, provider.base_url, self._wall())
