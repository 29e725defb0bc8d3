"""A TLS front to the upstream, in a process of its own: only for what an open stream costs its client over TLS.

Run alone: `python -m benchmarks.upstream.tls PORT FOLDER`. It writes its authority's certificate to `ca.pem` in the
folder, prints its own port, and hands bytes on in both directions until its input ends. It needs trustme.
"""

from __future__ import annotations

import contextlib
import ssl
import sys
from pathlib import Path

import trio
import trustme

PIECE = 16_384
Front = trio.SSLStream[trio.SocketStream]


async def hand_on(source: trio.abc.ReceiveStream, sink: trio.abc.SendStream, scope: trio.CancelScope) -> None:
    """No more than the other side takes. Where one direction ends, so does the other."""
    with contextlib.suppress(trio.BrokenResourceError):
        while piece := await source.receive_some(PIECE):
            await sink.send_all(piece)
    scope.cancel()


async def main(upstream: int, folder: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)

    async def front(before: Front) -> None:
        behind = await trio.open_tcp_stream("127.0.0.1", upstream)
        async with behind, trio.open_nursery() as nursery:
            nursery.start_soon(hand_on, before, behind, nursery.cancel_scope)
            nursery.start_soon(hand_on, behind, before, nursery.cancel_scope)
        await trio.aclose_forcefully(before)

    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    listeners = [trio.SSLListener(listener, context, https_compatible=True)]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, front, listeners)
        print(listener.socket.getsockname()[1], flush=True)
        await trio.to_thread.run_sync(sys.stdin.read)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main, int(sys.argv[1]), Path(sys.argv[2]))
