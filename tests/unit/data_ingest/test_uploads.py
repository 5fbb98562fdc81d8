"""Pieces of a file become parts of one size, and nothing else does."""

from pathlib import Path

import pytest

from lepton_common.errors import TooLarge, WrongOffset
from lepton_common.objects import ObjectStore
from lepton_data_ingest.uploads import PART_BYTES, Assembly, Part, prefix, store_part, stored_digest


@pytest.mark.parametrize("piece", [1_000_000, PART_BYTES, 3 * PART_BYTES])
def test_parts_have_one_size_but_the_last(piece: int) -> None:
    size = 2 * PART_BYTES + 5
    data = bytes(range(256)) * (size // 256 + 1)
    assembly = Assembly(committed_size=0, size_bytes=size)
    parts: list[Part] = []
    for start in range(0, size, piece):
        parts += assembly.take(start, data[start : min(size, start + piece)])
    assert [(part.offset, len(part.data)) for part in parts] == [
        (0, PART_BYTES),
        (PART_BYTES, PART_BYTES),
        (2 * PART_BYTES, 5),
    ]
    assert b"".join(part.data for part in parts) == data[:size]
    assert assembly.received == size


def test_a_transfer_goes_on_where_parts_end() -> None:
    assembly = Assembly(committed_size=PART_BYTES, size_bytes=PART_BYTES + 3)
    with pytest.raises(WrongOffset) as caught:
        list(assembly.take(0, b"abc"))
    assert caught.value.metadata["committed_size"] == str(PART_BYTES)
    assert list(assembly.take(PART_BYTES, b"abc")) == [Part(PART_BYTES, b"abc")]


@pytest.mark.parametrize("offset", [0, 1, 4])
def test_a_piece_must_start_where_the_last_one_ended(offset: int) -> None:
    assembly = Assembly(committed_size=0, size_bytes=10)
    assert list(assembly.take(0, b"ab")) == []
    with pytest.raises(WrongOffset, match="go on at byte 2"):
        list(assembly.take(offset, b"c"))


def test_more_than_was_announced_is_refused() -> None:
    assembly = Assembly(committed_size=0, size_bytes=3)
    assert list(assembly.take(0, b"ab")) == []
    with pytest.raises(TooLarge, match="more bytes than the 3 that were announced"):
        list(assembly.take(2, b"cd"))


def test_a_part_is_never_overwritten(tmp_path: Path) -> None:
    objects = ObjectStore(f"file://{tmp_path}")
    folder = prefix("datasets/d", "uid")
    assert store_part(objects, folder, Part(0, b"first"))
    assert not store_part(objects, folder, Part(0, b"other"))
    assert store_part(objects, folder, Part(5, b"second"))
    import hashlib

    assert stored_digest(objects, folder) == (hashlib.sha256(b"firstsecond").hexdigest(), 11)
