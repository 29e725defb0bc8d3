"""The configuration of whoever configures nothing: keys in the environment, and a dated table of models.

Not here: prices (the price plugins), and what a model can do (its codec).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping

import attrs

from penstock._config import DEFAULT_ROUTE, Config
from penstock.errors import ConfigError

__all__ = ["AS_OF", "DEFAULT_MODELS", "DefaultModels", "config_from_environment"]

logger = logging.getLogger("penstock")

AS_OF = "2026-10-26"
"""The day the table was made. Models come and go: who depends on one names it."""


@attrs.frozen
class DefaultModels:
    """What to use of a provider: its strong model, and a cheap one that answers when nothing else does."""

    key_variable: str
    provider: str
    strong: str
    cheap: str


DEFAULT_MODELS = (
    DefaultModels("ANTHROPIC_API_KEY", "anthropic", "claude-sonnet-4-6", "claude-haiku-4-5"),
    DefaultModels("OPENAI_API_KEY", "openai", "gpt-4.1", "gpt-4.1-mini"),
)
CONFIG_VARIABLE = "PENSTOCK_CONFIG"
STRONG_FIRST, STRONG_NEXT, CHEAP = 3, 2, 2
"""Attempts: patience with the model that was wanted, less with what stands in for it."""


def config_from_environment(environ: Mapping[str, str] | None = None) -> Config:
    """The file that PENSTOCK_CONFIG names; else the strong models of all providers that have a key, then the cheap."""
    environ = os.environ if environ is None else environ
    if path := environ.get(CONFIG_VARIABLE):
        return Config.load(path, environ=environ)
    found = [models for models in DEFAULT_MODELS if environ.get(models.key_variable)]
    if not found:
        keys = " or ".join(models.key_variable for models in DEFAULT_MODELS)
        raise ConfigError(f"nothing is configured: set {keys} in the environment, or {CONFIG_VARIABLE} to a TOML file")
    strong = [f"{models.provider}/{models.strong}" for models in found]
    cheap = [f"{models.provider}/{models.cheap}" for models in found]
    attempts = [STRONG_FIRST] + [STRONG_NEXT] * (len(strong) - 1) + [CHEAP] * len(cheap)
    cascade = [{"target": target, "attempts": each} for target, each in zip(strong + cheap, attempts, strict=True)]
    logger.info("no configuration: using %s (models as of %s)", ", ".join(strong + cheap), AS_OF)
    return Config.from_dict({"routes": {DEFAULT_ROUTE: {"cascade": cascade}}}, environ=environ)
