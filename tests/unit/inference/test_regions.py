"""Regions of shared memory: what may be one, what is read and written, and what clients do meanwhile."""

import os
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lepton_common.errors import (
    AlreadyExists,
    InvalidField,
    LeptonError,
    NotFound,
    PermissionDenied,
    TooLarge,
    WrongState,
)
from lepton_inference.regions import MOST_REGIONS, Place, Regions


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of objects with one of 16 bytes, `object`."""
    (tmp_path / "shm").mkdir()
    (tmp_path / "shm/object").write_bytes(bytes(range(16)))
    return tmp_path / "shm"


@pytest.fixture
def regions(folder: Path) -> Iterator[Regions]:
    made = Regions(most_request_bytes=100, folder=folder)
    yield made
    made.unregister_all()


def test_what_is_written_is_read(regions: Regions, folder: Path) -> None:
    regions.register("r", "object", offset=4, byte_size=8)
    place = regions.place("r", offset=2, byte_size=4)
    assert regions.read(place) == bytes([6, 7, 8, 9])
    regions.write(place, b"abc")
    assert regions.read(place) == b"abc\x09"
    assert (folder / "object").read_bytes() == bytes(range(6)) + b"abc" + bytes(range(9, 16))


def test_clients_see_what_is_registered(regions: Regions) -> None:
    regions.register("a", "object", offset=0, byte_size=16)
    regions.register("b", "//object", offset=8, byte_size=8)
    assert [(r.name, r.key, r.offset, r.byte_size) for r in regions.all()] == [
        ("a", "object", 0, 16),
        ("b", "//object", 8, 8),
    ]
    assert regions.find("b").offset == 8
    regions.unregister("a")
    regions.unregister("a")
    assert [region.name for region in regions.all()] == ["b"]


@pytest.mark.parametrize(
    ("key", "error"),
    [
        ("nothing", NotFound),
        ("", InvalidField),
        ("/", InvalidField),
        (".", InvalidField),
        ("..", InvalidField),
        ("../secret", InvalidField),
        ("/..//secret", InvalidField),
        ("folder/object", InvalidField),
        ("object\0", InvalidField),
        ("x" * 256, InvalidField),
        ("ü" * 200, InvalidField),
        ("folder", InvalidField),
        ("link", InvalidField),
        ("pipe", InvalidField),
    ],
)
def test_only_an_object_has_a_key(regions: Regions, folder: Path, key: str, error: type[LeptonError]) -> None:
    (folder.parent / "secret").write_bytes(bytes(16))
    (folder / "link").symlink_to("../secret")
    (folder / "folder").mkdir()
    (folder / "folder/object").write_bytes(bytes(16))
    os.mkfifo(folder / "pipe")
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(error):
        regions.register("r", key, offset=0, byte_size=1)
    assert regions.all() == []
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write everything")
def test_an_object_of_somebody_else_is_refused(regions: Regions, folder: Path) -> None:
    (folder / "object").chmod(0o400)
    with pytest.raises(PermissionDenied):
        regions.register("r", "object", offset=0, byte_size=1)


@pytest.mark.parametrize(
    ("offset", "byte_size"),
    [(0, 0), (0, 17), (16, 1), (9, 8), (2**64 - 1, 1), (1, 2**64 - 1), (2**64 - 1,) * 2],
)
def test_a_region_is_inside_its_object(regions: Regions, offset: int, byte_size: int) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(InvalidField, match="are not inside the object, which has 16"):
        regions.register("r", "object", offset=offset, byte_size=byte_size)
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(("offset", "byte_size"), [(0, 0), (-1, 2), (0, 9), (8, 1), (2**63, 2**63), (0, -1)])
def test_a_tensor_is_inside_its_region(regions: Regions, offset: int, byte_size: int) -> None:
    regions.register("r", "object", offset=4, byte_size=8)
    with pytest.raises(InvalidField, match="are not inside the region 'r', which has 8"):
        regions.place("r", offset=offset, byte_size=byte_size)


def test_a_name_is_given_once(regions: Regions) -> None:
    regions.register("r", "object", offset=0, byte_size=1)
    with pytest.raises(AlreadyExists, match="'r' already"):
        regions.register("r", "object", offset=0, byte_size=1)
    for name in ("", "x" * 256):
        with pytest.raises(InvalidField, match="1 to 255 characters"):
            regions.register(name, "object", offset=0, byte_size=1)


def test_there_are_only_so_many(regions: Regions) -> None:
    for number in range(MOST_REGIONS):
        regions.register(str(number), "object", offset=0, byte_size=1)
    with pytest.raises(TooLarge, match="unregister some"):
        regions.register("one more", "object", offset=0, byte_size=1)
    regions.unregister("7")
    regions.register("one more", "object", offset=0, byte_size=1)


def test_a_request_brings_in_only_so_much(regions: Regions) -> None:
    regions.register("r", "object", offset=0, byte_size=16)
    whole = regions.place("r", offset=0, byte_size=16)
    regions.check_total([whole] * 6)
    with pytest.raises(TooLarge, match="112 bytes together; a request may have 100"):
        regions.check_total([whole] * 7)


def test_an_output_must_fit(regions: Regions, folder: Path) -> None:
    regions.register("r", "object", offset=0, byte_size=16)
    with pytest.raises(InvalidField, match="4 bytes of the region 'r' do not hold an output of 5"):
        regions.write(regions.place("r", offset=0, byte_size=4), b"12345")
    assert (folder / "object").read_bytes() == bytes(range(16))


USES: dict[str, Callable[[Regions, Place], object]] = {
    "read": lambda regions, place: regions.read(place),
    "write": lambda regions, place: regions.write(place, bytes(16)),
}


@pytest.mark.parametrize("use", USES)
def test_an_object_that_shrinks_is_an_error_and_no_more(regions: Regions, folder: Path, use: str) -> None:
    regions.register("r", "object", offset=0, byte_size=16)
    place = regions.place("r", offset=0, byte_size=16)
    os.truncate(folder / "object", 15)
    with pytest.raises(WrongState, match="shorter than when it was registered"):
        USES[use](regions, place)
    assert (folder / "object").stat().st_size == 15


@pytest.mark.parametrize("use", USES)
def test_a_region_that_went_is_not_touched(regions: Regions, folder: Path, use: str) -> None:
    regions.register("r", "object", offset=0, byte_size=16)
    place = regions.place("r", offset=0, byte_size=16)
    regions.unregister("r")
    # The next file may have the number of the one that was closed.
    (folder / "other").write_bytes(b"other" * 10)
    regions.register("r", "other", offset=0, byte_size=16)
    with pytest.raises(NotFound, match="unregistered meanwhile"):
        USES[use](regions, place)
    assert (folder / "other").read_bytes() == b"other" * 10


def test_an_object_that_was_unlinked_is_still_there(regions: Regions, folder: Path) -> None:
    regions.register("r", "object", offset=0, byte_size=16)
    (folder / "object").unlink()
    (folder / "object").write_bytes(bytes(16))
    assert regions.read(regions.place("r", offset=0, byte_size=16)) == bytes(range(16))


@pytest.mark.parametrize(("offset", "says"), [(0, "no room for all of"), (8, "no room for the region 'r': ")])
def test_a_machine_without_room_is_an_error(regions: Regions, offset: int, says: str) -> None:
    regions.register("r", "object", offset=0, byte_size=16)
    place = regions.place("r", offset=offset, byte_size=16 - offset)
    # No file may be written beyond its first 8 bytes: memory that has run out ends a write the same way.
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8, limits[1]))
    try:
        with pytest.raises(WrongState, match=says):
            regions.write(place, bytes(16 - offset))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
