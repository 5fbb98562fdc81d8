"""Rings in shared memory: nothing is lost, nothing changes places, and nothing grows."""

import random
from collections.abc import Iterator

import pytest

from lepton_http2.relay.records import Flag, Kind, Record, join_fields, split_fields
from lepton_http2.relay.ring import RingReader, RingWriter
from lepton_http2.relay.shared import Shared, Sizes

RING_BYTES = 4096


@pytest.fixture
def shared() -> Iterator[Shared]:
    made = Shared.create(Sizes(ring_bytes=RING_BYTES, block_bytes=1 << 16))
    yield made
    made.close()


@pytest.fixture
def writer(shared: Shared) -> RingWriter:
    written, read = shared.counters[0]
    return RingWriter(shared.ring(0), written=written, read=read)


@pytest.fixture
def reader(shared: Shared) -> RingReader:
    written, read = shared.counters[0]
    return RingReader(shared.ring(0), written=written, read=read)


def record(kind: Kind, call: int, *, head: bytes = b"", body: bytes = b"") -> Record:
    return Record(kind, 0, 0, call, 0, 0, 0.0, head, body)


def test_a_record_comes_out_as_it_went_in(writer: RingWriter, reader: RingReader) -> None:
    sent = Record(Kind.CALL, Flag.COMPRESSED, 7, 2**40, 8, 2**50, 1.5, b"head", b"body")
    writer.put(sent)
    assert [*reader.records()] == []
    writer.tell()
    assert [*reader.records()] == [sent]
    assert [*reader.records()] == []


def test_records_go_round_the_ring_many_times(writer: RingWriter, reader: RingReader) -> None:
    rng = random.Random(0)
    for number in range(3000):
        head, body = rng.randbytes(rng.randrange(100)), rng.randbytes(rng.randrange(700))
        writer.put(record(Kind.MESSAGE, number, head=head, body=body))
        writer.tell()
        [came] = reader.records()
        assert (came.call, came.head, came.body) == (number, head, body)
    assert not writer.is_full


def test_what_has_no_room_waits_in_order(writer: RingWriter, reader: RingReader) -> None:
    bodies = [bytes([number]) * (100 + number) for number in range(100)]
    for number, body in enumerate(bodies):
        writer.put(record(Kind.MESSAGE, number, body=body))
    assert writer.is_full
    came: list[Record] = []
    rounds = 0
    while len(came) < len(bodies):
        writer.write_waiting()
        writer.tell()
        came += reader.records()
        rounds += 1
    assert [each.body for each in came] == bodies
    assert not writer.is_full
    # No more than the ring holds was ever in it.
    assert rounds >= sum(map(len, bodies)) / RING_BYTES


def test_a_body_larger_than_the_ring_comes_in_parts(writer: RingWriter, reader: RingReader) -> None:
    body = random.Random(0).randbytes(10 * RING_BYTES)
    writer.put(record(Kind.MESSAGE, 5, head=b"head", body=body))
    parts: list[bytes | memoryview] = []
    while True:
        writer.write_waiting()
        writer.tell()
        records = [*reader.records()]
        parts += (each.body for each in records if each.kind == Kind.PART)
        if records[-1].kind == Kind.MESSAGE:
            break
    assert b"".join(parts) == body
    assert (records[-1].call, records[-1].head, records[-1].flags) == (5, b"head", Flag.PARTS)


def test_a_head_that_fits_nowhere_is_refused(writer: RingWriter) -> None:
    with pytest.raises(ValueError, match="too large"):
        writer.put(record(Kind.END, 1, head=bytes(RING_BYTES)))


def test_what_is_no_record_is_not_read(shared: Shared, writer: RingWriter, reader: RingReader) -> None:
    writer.put(record(Kind.MESSAGE, 1, body=b"x" * 100))
    writer.tell()
    shared.ring(0)[:4] = bytes(4)
    with pytest.raises(ValueError, match="no record"):
        [*reader.records()]


def test_header_fields_survive() -> None:
    fields = [(b"x-request-id", b"7", 0, 0), (b"empty", b"", 0, 0), (b"data-bin", bytes(range(256)), 0, 0)]
    assert split_fields(join_fields(fields)) == fields
