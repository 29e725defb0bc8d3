"""Compressed bodies: plain for the reader, within a limit, or an error."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable

import httpx
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from loopback import loopback, one_answer, saying

from penstock._transport import Transport
from penstock._transport.decompression import Decompressor


def encoded(encoding: bytes, body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-encoding: %b\r\ncontent-length: %d\r\n\r\n%b" % (encoding, len(body), body)


def bare_deflate(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(data) + compressor.flush()


TEXT = b"the same words again and again " * 10_000


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        (b"gzip", gzip.compress(TEXT)),
        (b"X-GZIP", gzip.compress(TEXT)),
        (b"gzip", gzip.compress(TEXT[:1000]) + gzip.compress(TEXT[1000:])),
        (b"deflate", zlib.compress(TEXT)),
        (b"deflate", bare_deflate(TEXT)),
        (b"identity", TEXT),
        (b"deflate, gzip", gzip.compress(zlib.compress(TEXT))),
    ],
)
def test_compressed_bodies_come_out_plain(encoding: bytes, body: bytes) -> None:
    assert one_answer(Transport(), encoded(encoding, body)) == (200, TEXT)


def test_headers_no_longer_speak_of_a_compression_that_was_undone() -> None:
    async def main() -> None:
        script = saying(encoded(b"gzip", gzip.compress(TEXT)))
        async with loopback(script) as server, httpx.AsyncClient(transport=Transport()) as client:
            response = await client.post(server.url)
            assert response.content == TEXT
            assert not {"content-encoding", "content-length"} & set(response.headers)

    trio.run(main)


def test_an_unknown_encoding_passes_through() -> None:
    assert one_answer(Transport(), encoded(b"br", b"opaque")) == (200, b"opaque")


def test_an_empty_body_needs_no_decompression() -> None:
    assert one_answer(Transport(), encoded(b"gzip", b"")) == (200, b"")


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        (b"gzip", gzip.compress(b"\0" * 3_000_000)),
        (b"gzip, gzip", gzip.compress(gzip.compress(b"\0" * 3_000_000))),
        (b"gzip", b"not gzip at all"),
        (b"gzip", gzip.compress(TEXT)[:-9]),
        (b"gzip", gzip.compress(TEXT)[:-4] + b"\0\0\0\0"),
        (b"deflate", zlib.compress(TEXT) + b"more"),
    ],
    ids=["bomb", "bomb in a gzip", "garbage", "cut", "wrong checksum", "more after the end"],
)
def test_a_bomb_or_a_broken_compression_is_an_error(encoding: bytes, body: bytes) -> None:
    with pytest.raises(httpx.DecodingError):
        one_answer(Transport(max_decompressed_bytes=1_000_000), encoded(encoding, body))


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_bomb_is_made_piece_by_piece(encoding: str) -> None:
    bomb = (gzip if encoding == "gzip" else zlib).compress(b"\0" * 3_000_000)
    sizes = [len(piece) for piece in Decompressor(encoding).feed(bomb)]
    assert sum(sizes) == 3_000_000
    assert max(sizes) <= 65_536


@given(
    st.binary(max_size=2000),
    st.lists(st.integers(1, 200), min_size=1),
    st.sampled_from([gzip.compress, zlib.compress, bare_deflate]),
)
def test_it_does_not_matter_where_the_reads_cut(
    data: bytes, cuts: list[int], compress: Callable[[bytes], bytes]
) -> None:
    compressed = compress(data)
    decompressor = Decompressor("gzip" if compress is gzip.compress else "deflate")
    plain = b""
    for cut in [*cuts, len(compressed)]:
        plain += b"".join(decompressor.feed(compressed[:cut]))
        compressed = compressed[cut:]
    decompressor.check_ended()
    assert plain == data
