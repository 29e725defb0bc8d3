"""Whose prices a request is billed at, by where it is sent.

Not here: the addresses themselves, which come with each price list.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import ip_address
from urllib.parse import urlsplit

from penstock_plugins.prices.listing import Address

__all__ = ["vendor_of"]

_LISTED_AS = {"moonshot": "moonshotai", "xai": "x-ai"}
"""What the lists call a kind of provider, where that is another name."""


def vendor_of(kind: str, base_url: str | None, addresses: Sequence[Address]) -> str | None:
    """The provider in the list that serves that URL; None: nobody knows what that costs.

    Without a URL, and on this machine, the kind of the provider names the vendor.
    """
    if base_url is not None:
        for address in addresses:
            if re.match(address.pattern, base_url):
                return address.vendor
        if not _is_this_machine(base_url):
            return None
    vendor = _LISTED_AS.get(kind, kind)
    return vendor if any(vendor == address.vendor for address in addresses) else None


def _is_this_machine(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
