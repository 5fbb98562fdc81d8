"""Connections that no client would make: malformed, greedy, or slow, each made from a seed and a number.

What they stand for is known by name: rapid reset, CONTINUATION flood, PING and SETTINGS floods, slow loris,
compression bombs of HPACK and gzip, announcements of what never comes.
"""

import gzip
import random
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from functools import cache

from lepton_http2 import frames
from lepton_http2.hpack import encode

from .conversation import INFER, call, fields, prefixed

HELLO = frames.PREFACE + frames.settings([])
_STREAM_INFER = "/inference.GRPCInferenceService/ModelStreamInfer"
_TABLE_SETTING, _WINDOW_SETTING = 1, 4
_LARGE_BYTES = 100_000
_BOMB_BYTES = 8 << 20
_FLOOD = 3_000


class Ending(Enum):
    """How a connection is left."""

    CLOSE = auto()
    """Closed at once, whatever the server has to say."""
    RESET = auto()
    """Torn down, as by a machine that is switched off."""
    HALF = auto()
    """Nothing more is sent, and what comes is read for a while."""
    READ = auto()
    """What comes is read for a while."""


@dataclass(frozen=True)
class Attack:
    """One connection.

    Attributes:
        name: of its kind.
        chunks: what is sent, one write each.
        ending: how it is left.
    """

    name: str
    chunks: Sequence[bytes]
    ending: Ending


def attack(number: int, message: bytes, *, seed: int = 0) -> Attack:
    """The attack of a number. `message` is a request that the server would answer."""
    rng = random.Random(f"{seed}/{number}")
    name, make = rng.choices(_KINDS, _WEIGHTS)[0]
    sent = make(rng, message)
    ending = rng.choice([*Ending])
    cuts = sorted(rng.randrange(len(sent) + 1) for _ in range(rng.choice([0, 0, 0, 1, 3])))
    chunks = [sent[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(sent)], strict=True)]
    return Attack(name, [chunk for chunk in chunks if chunk], ending)


def head(
    stream_id: int, *, path: str = INFER, extra: Sequence[tuple[bytes, bytes]] = (), end: bool = False
) -> bytes:
    """A HEADERS frame that begins a call."""
    flags = frames.END_HEADERS | (frames.END_STREAM if end else 0)
    return frames.frame(frames.HEADERS, flags, stream_id, encode([*fields(path), *extra]))


def body(stream_id: int, data: bytes, *, end: bool = True) -> bytes:
    """A DATA frame."""
    return frames.frame(frames.DATA, frames.END_STREAM if end else 0, stream_id, data)


def conversation(message: bytes) -> list[bytes]:
    """Frames that a client might send, all of them right."""
    halves = prefixed(message)
    middle = len(halves) // 2
    return [
        HELLO,
        frames.window_update(0, 1 << 20),
        call(message, timeout_ms=10_000).on(1),
        head(3),
        body(3, halves[:middle], end=False),
        frames.frame(frames.PING, 0, 0, b"12345678"),
        body(3, halves[middle:]),
        head(5, path=_STREAM_INFER, extra=[(b"x-request-id", b"a")]),
        body(5, halves, end=False),
        frames.SETTINGS_ACK,
        body(5, halves),
        head(7),
        frames.rst_stream(7, 8),
        frames.window_update(1, 1000),
        frames.goaway(0, 0),
    ]


def mutate(rng: random.Random, message: bytes) -> bytes:
    """A right conversation with a few octets changed, left out, doubled, or put in."""
    sent = bytearray(b"".join(conversation(message)))
    for _ in range(rng.choice([1, 1, 2, 5, 20])):
        at = rng.randrange(len(sent))
        kind = rng.randrange(4)
        if kind == 0:
            sent[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del sent[at : at + rng.choice([1, 1, 9, 100])]
        elif kind == 2:
            sent[at:at] = sent[at : at + rng.choice([1, 9, 100])]
        else:
            sent[at:at] = rng.randbytes(rng.choice([1, 4, 30]))
    return bytes(sent)


def shuffle(rng: random.Random, message: bytes) -> bytes:
    """The frames of a right conversation in another order, some of them twice."""
    first, *others = conversation(message)
    return first + b"".join(rng.choices(others, k=rng.randrange(2, 30)))


def a_frame(rng: random.Random, message: bytes) -> bytes:
    """Frames of any kind with anything in them."""
    made = [
        frames.frame(
            rng.randrange(12), rng.randrange(256), rng.randrange(8), rng.randbytes(rng.randrange(40))
        )
        for _ in range(rng.randrange(1, 10))
    ]
    return HELLO + b"".join(made)


def oversized(rng: random.Random, message: bytes) -> bytes:
    """A frame, or a message, that says it is much larger than what is allowed, or than what follows."""
    kind = rng.choice([frames.DATA, frames.HEADERS, frames.SETTINGS, frames.PING, frames.CONTINUATION, 200])
    announced = frames.header(kind, 4, rng.choice([0, 1]), rng.choice([1 << 14, 1 << 20, frames.MAX_FRAME]))
    of_message = head(1) + body(
        1, bytes([rng.randrange(3)]) + rng.randbytes(4) + bytes(100), end=rng.random() < 0.5
    )
    return HELLO + rng.choice([announced + bytes(100), head(1) + announced + bytes(100), of_message])


def broken_rule(rng: random.Random, message: bytes) -> bytes:
    """One frame that a client may not send here."""
    return HELLO + rng.choice(
        [
            body(0, b"x"),
            head(2),
            head(3) + head(1),
            frames.frame(frames.PUSH_PROMISE, 4, 1, bytes(8)),
            frames.settings([(_WINDOW_SETTING, 1 << 31)]),
            frames.settings([(5, 1)]),
            frames.frame(frames.SETTINGS, 0, 0, bytes(5)),
            frames.window_update(0, frames.MAX_WINDOW) * 2,
            frames.window_update(0, 0),
            frames.rst_stream(9, 0),
            frames.frame(frames.CONTINUATION, 4, 1, b""),
            head(1, end=True) + body(1, b"more"),
            head(1) + frames.frame(frames.HEADERS, 4, 1, encode([(b"x", b"y")])),
            frames.frame(frames.HEADERS, 4, 1, rng.randbytes(40)),
            frames.frame(frames.DATA, 8, 1, b"\xff"),
        ]
    )


def wrong_call(rng: random.Random, message: bytes) -> bytes:
    """What HTTP/2 allows and gRPC does not."""
    wrong = [
        [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"x")],
        [*fields("/no.Service/Method")],
        [*fields(INFER)[:-1], (b"content-type", b"text/html")],
        [*fields(INFER), (b"grpc-timeout", b"99999999999S")],
        [*fields(INFER), (b"grpc-timeout", b"1n")],
        [*fields(INFER), (b"grpc-encoding", b"snappy")],
        [*fields(INFER), (b"content-length", b"7")],
        [*fields(INFER), (b"connection", b"close")],
        [*fields(INFER), (b"x-bin", b"!!!")],
        [*fields(INFER), (b"X-Upper", b"a")],
    ]
    sent = frames.frame(frames.HEADERS, frames.END_HEADERS, 1, encode(rng.choice(wrong)))
    given = rng.choice([prefixed(message), prefixed(rng.randbytes(200)), prefixed(message) * 2, b"\0\0", b""])
    return HELLO + sent + body(1, given)


def flood(rng: random.Random, message: bytes) -> bytes:
    """The same small frame, thousands of times."""
    flooded = rng.choice(
        [
            frames.frame(frames.PING, 0, 0, bytes(8)),
            frames.settings([(_WINDOW_SETTING, rng.randrange(1 << 20))] * 3),
            frames.settings([]),
            frames.window_update(0, 1),
            frames.frame(frames.PRIORITY, 0, 1, bytes(4) + b"\1"),
            frames.frame(frames.SETTINGS, frames.ACK, 0),
            frames.frame(77, 0, 1, b"unknown"),
        ]
    )
    return HELLO + head(1) + flooded * _FLOOD


def empty_bodies(rng: random.Random, message: bytes) -> bytes:
    """DATA frames without data."""
    return HELLO + head(1) + body(1, b"", end=False) * _FLOOD


def continuations(rng: random.Random, message: bytes) -> bytes:
    """A header block that does not end."""
    part = rng.choice([b"", encode([(b"x", b"y" * 20)]) * 10])
    return (
        HELLO
        + frames.frame(frames.HEADERS, 0, 1, encode(fields(INFER)))
        + frames.frame(frames.CONTINUATION, 0, 1, part) * _FLOOD
    )


def rapid_reset(rng: random.Random, message: bytes) -> bytes:
    """Calls that are taken back at once."""
    whole = call(message)
    one = [
        (head(stream_id) if rng.random() < 0.5 else whole.on(stream_id)) + frames.rst_stream(stream_id, 8)
        for stream_id in range(1, 1201, 2)
    ]
    return HELLO + b"".join(one)


def many_streams(rng: random.Random, message: bytes) -> bytes:
    """More calls than may be under way, none of them complete."""
    path = rng.choice([INFER, _STREAM_INFER])
    return HELLO + b"".join(head(stream_id, path=path) for stream_id in range(1, 2401, 2))


def large_headers(rng: random.Random, message: bytes) -> bytes:
    """A header list that is larger than any should be, or becomes so when it is decoded."""
    if rng.random() < 0.5:
        block = encode(fields(INFER)) + encode([(b"x-%d" % number, b"y" * 90) for number in range(900)])
        parts = [block[at : at + 16_000] for at in range(0, len(block), 16_000)]
        sent = frames.frame(frames.HEADERS, 0, 1, parts[0])
        sent += b"".join(frames.frame(frames.CONTINUATION, 0, 1, part) for part in parts[1:-1])
        return HELLO + sent + frames.frame(frames.CONTINUATION, frames.END_HEADERS, 1, parts[-1])
    # One entry of the dynamic table, and then its index over and over.
    block = encode(fields(INFER)) + b"\x40\x01a\x7f\xa1\x1e" + b"b" * 4000 + b"\xbe" * 12_000
    return HELLO + frames.frame(frames.HEADERS, frames.END_HEADERS, 1, block)


def bomb(rng: random.Random, message: bytes) -> bytes:
    """A message that is small until it is decompressed, or no gzip at all."""
    packed = rng.choice([_bomb(), _bomb()[:-9], b"no gzip", gzip.compress(message, mtime=0)])
    extra = [(b"grpc-encoding", b"gzip")] if rng.random() < 0.8 else []
    return HELLO + head(1, extra=extra) + body(1, prefixed(packed, compressed=True))


def stall(rng: random.Random, message: bytes) -> bytes:
    """Calls whose answers find no window."""
    settings = frames.settings([(_WINDOW_SETTING, rng.choice([0, 1, 10])), (_TABLE_SETTING, 0)])
    whole = call(message)
    return frames.PREFACE + settings + b"".join(whole.on(stream_id) for stream_id in range(1, 61, 2))


def abandoned(rng: random.Random, message: bytes) -> bytes:
    """Calls that are right, and that nobody waits for, the last of them cut off."""
    whole = call(message)
    sent = HELLO + b"".join(whole.on(stream_id) for stream_id in range(1, 2 * rng.randrange(1, 20), 2))
    return sent[: len(sent) - rng.choice([0, 1, 20])]


def half_a_body(rng: random.Random, message: bytes) -> bytes:
    """Large messages that do not end."""
    large = b"\0" + (1 << 20).to_bytes(4) + bytes(_LARGE_BYTES)
    path = rng.choice([INFER, _STREAM_INFER])
    return HELLO + b"".join(
        head(stream_id, path=path) + body(stream_id, large, end=False) for stream_id in (1, 3, 5)
    )


def other_protocol(rng: random.Random, message: bytes) -> bytes:
    """What is no HTTP/2."""
    return rng.choice(
        [
            _client_hello(),
            b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\n\r\n",
            frames.PREFACE[: rng.randrange(1, 24)],
            frames.PREFACE[:10] + rng.randbytes(40),
            rng.randbytes(rng.randrange(1, 300)),
            frames.PREFACE + rng.randbytes(rng.randrange(1, 300)),
            b"",
        ]
    )


@cache
def _bomb() -> bytes:
    return gzip.compress(bytes(_BOMB_BYTES), mtime=0)


@cache
def _client_hello() -> bytes:
    """What a client of TLS sends first."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="localhost")
    try:
        client.do_handshake()
    except ssl.SSLWantReadError:
        return outgoing.read()
    raise AssertionError("a handshake takes two")


Make = Callable[[random.Random, bytes], bytes]
# What costs the attacker most is the rarest.
_WEIGHED: tuple[tuple[str, Make, float], ...] = (
    ("other protocol", other_protocol, 15),
    ("mutated", mutate, 25),
    ("shuffled", shuffle, 10),
    ("any frame", a_frame, 10),
    ("oversized", oversized, 10),
    ("broken rule", broken_rule, 10),
    ("wrong call", wrong_call, 8),
    ("abandoned", abandoned, 5),
    ("stalled", stall, 2),
    ("half a body", half_a_body, 1),
    ("flood", flood, 1),
    ("empty bodies", empty_bodies, 0.5),
    ("continuations", continuations, 0.5),
    ("rapid reset", rapid_reset, 0.5),
    ("many streams", many_streams, 0.5),
    ("large headers", large_headers, 0.5),
    ("bomb", bomb, 0.5),
)
_KINDS = [(name, make) for name, make, _ in _WEIGHED]
_WEIGHTS = [weight for _, _, weight in _WEIGHED]
