"""The upstream's loop: one process, one thread, epoll, and as little Python per request as it takes.

Run alone: `python -m benchmarks.upstream.server`. It prints its port and serves until its input ends. It reads requests
by `content-length` alone: it is an upstream for measuring clients, not an HTTP server. `GET /statistics` says how many
requests it has answered, and for how many seconds of CPU.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import resource
import select
import socket
import sys
import time
from collections.abc import Iterator

from benchmarks.upstream.answers import Plan, plans, whole

READ = 65_536
KNOWN_HEADS = 1_000
"""Heads of requests that are looked up instead of read: a client's are all alike, but for a number here and there."""


class Server:
    """Every connection, and what is to be written later."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=4_096)
        self.listener.setblocking(False)
        self.epoll = select.epoll()
        self.plans = plans()
        self.heads: dict[bytes, tuple[Plan, int]] = {}
        self.connections: dict[int, Connection] = {}
        self.later: list[tuple[float, int, Connection, Iterator[bytes], float]] = []
        self.order = itertools.count()
        self.requests = 0

    def serve(self) -> None:
        """Until standard input ends."""
        connections, poll = self.connections, self.epoll.poll
        listening, stdin = self.listener.fileno(), sys.stdin.fileno()
        self.epoll.register(listening, select.EPOLLIN)
        self.epoll.register(stdin, select.EPOLLIN)
        while True:
            for fd, event in poll(max(0.0, self.later[0][0] - time.monotonic()) if self.later else None):
                connection = connections.get(fd)
                if connection is not None:
                    connection.ready(event)
                elif fd == listening:
                    self.accept()
                elif fd == stdin:
                    return
            self.write_what_is_due()

    def accept(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                accepted, _ = self.listener.accept()
                accepted.setblocking(False)
                accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.connections[accepted.fileno()] = Connection(self, accepted)
                self.epoll.register(accepted.fileno(), select.EPOLLIN)

    def at(self, when: float, connection: Connection, pieces: Iterator[bytes], period: float) -> None:
        heapq.heappush(self.later, (when, next(self.order), connection, pieces, period))

    def write_what_is_due(self) -> None:
        later = self.later
        while later and later[0][0] <= time.monotonic():
            when, _, connection, pieces, period = heapq.heappop(later)
            piece = next(pieces, None)
            if piece is not None and connection.write(piece):
                self.at(when + period, connection, pieces, period)

    def read_head(self, head: bytes) -> tuple[Plan, int]:
        """What a request's head asks for, and the bytes of its body."""
        lines = head.lower().split(b"\r\n")
        lengths = [line[15:] for line in lines if line.startswith(b"content-length:")]
        kind, _, rest = lines[0].split(b" ")[1].decode().lstrip("/").partition("/")
        if kind == "statistics":
            return Plan((whole({"requests": self.requests, "cpu_s": time.process_time()}),)), 0
        plan = self.plans[kind, rest.partition("?")[0].endswith("messages")]
        if len(self.heads) >= KNOWN_HEADS:
            self.heads.clear()
        self.heads[head] = known = (plan, int(lengths[0]))
        return known


class Connection:
    """One client's."""

    __slots__ = ("fd", "rest", "server", "socket", "unsent")

    def __init__(self, server: Server, accepted: socket.socket) -> None:
        self.server = server
        self.socket = accepted
        self.fd = accepted.fileno()
        self.rest = b""
        self.unsent: list[memoryview] = []

    def ready(self, event: int) -> None:
        if event & select.EPOLLOUT:
            self.write_on()
        if event & ~select.EPOLLOUT:
            try:
                data = self.socket.recv(READ)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if data:
                self.rest = self.take(self.rest + data if self.rest else data)
            else:
                self.close()

    def take(self, data: bytes) -> bytes:
        """Answers every whole request in it; returns what is left."""
        server = self.server
        while (end := data.find(b"\r\n\r\n")) >= 0:
            head = data[:end]
            plan, length = server.heads.get(head) or server.read_head(head)
            whole_length = end + 4 + length
            if len(data) < whole_length:
                break
            data = data[whole_length:]
            server.requests += 1
            pieces, delay, period = plan
            if delay:
                server.at(time.monotonic() + delay, self, iter(pieces), period)
            elif self.write(pieces[0]) and len(pieces) > 1:
                later = iter(pieces)
                next(later)
                server.at(time.monotonic() + period, self, later, period)
        return data

    def write(self, piece: bytes) -> bool:
        """False where the connection is gone."""
        if self.unsent:
            self.unsent.append(memoryview(piece))
            return True
        try:
            sent = self.socket.send(piece)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.close()
            return False
        if sent < len(piece):
            self.unsent.append(memoryview(piece)[sent:])
            self.server.epoll.modify(self.fd, select.EPOLLIN | select.EPOLLOUT)
        return True

    def write_on(self) -> None:
        try:
            while self.unsent:
                first = self.unsent[0]
                sent = self.socket.send(first)
                if sent < len(first):
                    self.unsent[0] = first[sent:]
                else:
                    del self.unsent[0]
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        self.server.epoll.modify(self.fd, select.EPOLLIN)

    def close(self) -> None:
        """Once: what is still to be written to it finds it gone."""
        if self.server.connections.pop(self.fd, None) is not None:
            self.unsent.clear()
            self.socket.close()


def main() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    server = Server()
    print(server.listener.getsockname()[1], flush=True)
    server.serve()


if __name__ == "__main__":
    main()
