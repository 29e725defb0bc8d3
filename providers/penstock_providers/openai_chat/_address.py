"""Where a request is posted."""

from __future__ import annotations

from functools import lru_cache
from urllib.parse import quote, urlsplit

__all__ = ["chat_url"]


@lru_cache(maxsize=1_024)
def chat_url(base_url: str, query: str, *, deployment: str | None) -> str:
    """The URL of Chat Completions; at Azure that of the `deployment`, unless `base_url` has a path of Azure's already.

    Those are `/openai/...`, and `/models` for models that are named in the body.
    """
    base = base_url.rstrip("/")
    path = urlsplit(base).path
    if deployment is None or "/openai" in path or path.endswith("/models"):
        return f"{base}/chat/completions{query}"
    if not query:
        return f"{base}/openai/v1/chat/completions"
    return f"{base}/openai/deployments/{quote(deployment, safe='')}/chat/completions{query}"
