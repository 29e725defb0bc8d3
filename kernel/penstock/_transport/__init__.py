"""The transport of a kernel that is given none. The public seam is `httpx.AsyncBaseTransport`; this is private."""

from penstock._transport.decompression import decompressed as decompressed
from penstock._transport.failures import BrokenHttp as BrokenHttp
from penstock._transport.failures import GivenUp as GivenUp
from penstock._transport.failures import HeadCutOff as HeadCutOff
from penstock._transport.failures import ReusedConnectionClosed as ReusedConnectionClosed
from penstock._transport.pool import PoolStatistics as PoolStatistics
from penstock._transport.routing import RoutingTransport as RoutingTransport
from penstock._transport.routing import default_transport as default_transport
from penstock._transport.transport import Asked as Asked
from penstock._transport.transport import Transport as Transport
from penstock._transport.transport import TransportStatistics as TransportStatistics

__all__ = [
    "Asked",
    "BrokenHttp",
    "GivenUp",
    "HeadCutOff",
    "PoolStatistics",
    "ReusedConnectionClosed",
    "RoutingTransport",
    "Transport",
    "TransportStatistics",
    "decompressed",
    "default_transport",
]
