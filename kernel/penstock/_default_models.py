"""The configuration of whoever configures nothing: keys in the environment, and a dated table of models.

Not here: prices (the price plugins), and what a model can do (its codec).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence

import attrs

from penstock._config import DEFAULT_ROUTE, Config
from penstock.errors import ConfigError

__all__ = ["AS_OF", "DEFAULT_MODELS", "OTHER_MODELS", "DefaultModels", "config_from_environment"]

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
OTHER_MODELS = (
    DefaultModels("GROQ_API_KEY", "groq", "openai/gpt-oss-120b", "openai/gpt-oss-20b"),
    DefaultModels("MISTRAL_API_KEY", "mistral", "mistral-large-latest", "mistral-small-latest"),
    DefaultModels("DEEPSEEK_API_KEY", "deepseek", "deepseek-v4-pro", "deepseek-v4-flash"),
    DefaultModels("XAI_API_KEY", "xai", "grok-4.3", "grok-4-1-fast-non-reasoning"),
    DefaultModels("OPENROUTER_API_KEY", "openrouter", "anthropic/claude-sonnet-4.6", "openai/gpt-4.1-mini"),
)
"""For who has no key of the others. A key that merely lies about sends nobody's prompts to one more vendor."""
CONFIG_VARIABLE = "PENSTOCK_CONFIG"
STRONG_FIRST, STRONG_NEXT, CHEAP = 3, 2, 2
"""Attempts: patience with the model that was wanted, less with what stands in for it."""


def config_from_environment(environ: Mapping[str, str] | None = None) -> Config:
    """The file that PENSTOCK_CONFIG names; else the strong models of all providers that have a key, then the cheap.

    Where neither Anthropic nor OpenAI has one, those of OTHER_MODELS that do stand in.
    """
    environ = os.environ if environ is None else environ
    if path := environ.get(CONFIG_VARIABLE):
        return Config.load(path, environ=environ)
    found = _with_keys(DEFAULT_MODELS, environ) or _with_keys(OTHER_MODELS, environ)
    if not found:
        keys = " or ".join(models.key_variable for models in DEFAULT_MODELS + OTHER_MODELS)
        raise ConfigError(f"nothing is configured: set {keys} in the environment, or {CONFIG_VARIABLE} to a TOML file")
    strong = [f"{models.provider}/{models.strong}" for models in found]
    cheap = [f"{models.provider}/{models.cheap}" for models in found]
    attempts = [STRONG_FIRST] + [STRONG_NEXT] * (len(strong) - 1) + [CHEAP] * len(cheap)
    cascade = [{"target": target, "attempts": each} for target, each in zip(strong + cheap, attempts, strict=True)]
    logger.info("no configuration: using %s (models as of %s)", ", ".join(strong + cheap), AS_OF)
    return Config.from_dict({"routes": {DEFAULT_ROUTE: {"cascade": cascade}}}, environ=environ)


def _with_keys(table: Sequence[DefaultModels], environ: Mapping[str, str]) -> list[DefaultModels]:
    return [models for models in table if environ.get(models.key_variable)]
