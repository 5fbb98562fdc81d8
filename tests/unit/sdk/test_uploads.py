"""What is sent of a path: a file as it is, a folder as a tar that is always the same."""

import hashlib
import io
import os
import shutil
import tarfile
from pathlib import Path

import pytest

from lepton_common.errors import InvalidField
from lepton_sdk.uploads import as_file, describe


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    (tmp_path / "scratch").mkdir()
    return tmp_path / "scratch"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Images by label."""
    for label, name in (("cat", "b.png"), ("cat", "a.png"), ("dög", "c.png")):
        (tmp_path / "pets" / label).mkdir(parents=True, exist_ok=True)
        (tmp_path / "pets" / label / name).write_bytes(name.encode() * 100)
    return tmp_path / "pets"


def members(tar: Path) -> dict[str, bytes]:
    with tarfile.open(tar) as opened:
        files = {member.name: opened.extractfile(member) for member in opened}
        return {name: file.read() if file else b"" for name, file in files.items()}


def test_a_file_is_sent_as_it_is(tmp_path: Path, scratch: Path) -> None:
    path = tmp_path / "iris.csv"
    path.write_text("a,b\n")
    assert as_file(path, scratch) == path
    announced = describe(path)
    assert (announced.filename, announced.size_bytes) == ("iris.csv", 4)
    assert announced.sha256 == hashlib.sha256(b"a,b\n").hexdigest()


def test_a_folder_is_sent_as_a_tar_of_its_files_in_order(folder: Path, scratch: Path) -> None:
    tar = as_file(folder, scratch)
    assert tar.name == "pets.tar"
    assert [*members(tar)] == ["cat/a.png", "cat/b.png", "dög/c.png"]
    assert members(tar)["dög/c.png"] == b"c.png" * 100


def test_the_same_folder_gives_the_same_bytes(folder: Path, scratch: Path, tmp_path: Path) -> None:
    before = as_file(folder, scratch).read_bytes()
    twin = tmp_path / "elsewhere" / "pets"
    for path in sorted(folder.rglob("*.png"), reverse=True):
        copy = twin / path.relative_to(folder)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
        copy.chmod(0o700)
        os.utime(copy, (1, 1))
    (twin / "empty").mkdir()
    assert as_file(twin, scratch).read_bytes() == before


def test_another_folder_gives_other_bytes(folder: Path, scratch: Path) -> None:
    before = as_file(folder, scratch).read_bytes()
    (folder / "cat" / "a.png").rename(folder / "dög" / "a.png")
    assert as_file(folder, scratch).read_bytes() != before


def test_links_are_sent_as_what_they_point_at(folder: Path, scratch: Path) -> None:
    before = as_file(folder, scratch).read_bytes()
    real = folder.parent / "real.png"
    (folder / "cat" / "a.png").rename(real)
    (folder / "cat" / "a.png").symlink_to(real)
    assert as_file(folder, scratch).read_bytes() == before
    (folder / "cat" / "a.png").unlink()
    (folder / "cat" / "a.png").hardlink_to(real)
    (folder / "cat" / "z.png").hardlink_to(real)
    assert members(as_file(folder, scratch))["cat/z.png"] == real.read_bytes()


def test_a_tar_says_nothing_of_its_maker(folder: Path, scratch: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(as_file(folder, scratch).read_bytes())) as tar:
        for member in tar:
            assert (member.mtime, member.uid, member.gid, member.uname, member.gname) == (0, 0, 0, "", "")


def test_the_present_folder_has_a_name(folder: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert as_file(Path(), scratch).name == "pets.tar"


def test_what_is_not_there_is_refused(tmp_path: Path, scratch: Path) -> None:
    with pytest.raises(InvalidField, match="neither a file nor a folder"):
        as_file(tmp_path / "none", scratch)


def test_what_is_neither_file_nor_folder_is_refused(tmp_path: Path, scratch: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InvalidField, match="neither a file nor a folder"):
        as_file(tmp_path / "pipe", scratch)


def test_an_empty_folder_is_refused(tmp_path: Path, scratch: Path) -> None:
    (tmp_path / "empty" / "inner").mkdir(parents=True)
    with pytest.raises(InvalidField, match="holds no file"):
        as_file(tmp_path / "empty", scratch)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.csv").touch()
    with pytest.raises(InvalidField, match=r"empty\.csv is empty"):
        describe(tmp_path / "empty.csv")


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidField, match="cannot be read: Is a directory"):
        describe(tmp_path)
