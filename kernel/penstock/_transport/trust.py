"""Which certificates are trusted: the TLS settings of every connection of a transport."""

from __future__ import annotations

import ssl
from collections.abc import Mapping

import httpx

__all__ = ["trust"]


def trust(ca_file: str | None, environ: Mapping[str, str]) -> ssl.SSLContext:
    """`ca_file` alone if given, else SSL_CERT_FILE or SSL_CERT_DIR of `environ`, else the bundle httpx uses.

    Reads files. Raises OSError (ssl.SSLError is one) where they cannot be read.
    """
    cafile = ca_file or environ.get("SSL_CERT_FILE") or None
    capath = None if cafile else environ.get("SSL_CERT_DIR") or None
    if cafile or capath:
        context = ssl.create_default_context(cafile=cafile, capath=capath)
    else:
        context = httpx.create_ssl_context(trust_env=False)
    context.set_alpn_protocols(["http/1.1"])
    return context
