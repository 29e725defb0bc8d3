"""Where a request is posted."""

from __future__ import annotations

from urllib.parse import quote, urlsplit

__all__ = ["chat_url"]


def chat_url(base_url: str, query: str, *, deployment: str | None) -> str:
    """The URL of Chat Completions; at Azure that of the `deployment`, unless `base_url` leads there already."""
    base = base_url.rstrip("/")
    if deployment is None or "/openai" in urlsplit(base).path:
        return f"{base}/chat/completions{query}"
    if not query:
        return f"{base}/openai/v1/chat/completions"
    return f"{base}/openai/deployments/{quote(deployment, safe='')}/chat/completions{query}"
