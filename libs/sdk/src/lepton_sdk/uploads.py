"""Bringing a file to a dataset: piece by piece, from where the server has it, across broken streams."""

from __future__ import annotations

import asyncio
import hashlib
import tarfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
from grpc import aio

from lepton.dataset.v1 import dataset_pb2, dataset_pb2_grpc
from lepton_common.errors import DependencyUnavailable, InvalidField, WrongOffset
from lepton_sdk.calls import PAUSE_SECONDS, RECONNECT_SECONDS, call, is_answer, is_away, named

PIECE_BYTES = 1 << 20
STALL_SECONDS = 120.0
"""A stream that takes no further piece for so long is given up. The server may need as long to check the
digest of a large file, after the last one."""

UploadProgress = Callable[[int, int], None]
"""Called with the bytes that were sent, of how many. After a break it begins where the server has them."""


async def send(
    stub: dataset_pb2_grpc.DatasetServiceAsyncStub,
    upload: dataset_pb2.Upload,
    file: Path,
    on_progress: UploadProgress,
) -> dataset_pb2.Upload:
    """Send what the server does not have yet, until the upload is complete.

    Raises:
        InvalidField: the file cannot be read, or has become shorter.
        DependencyUnavailable: no byte more has arrived for a minute, however often it was tried.
        LeptonError: the server refused; the class tells why.
    """
    stuck_since: float | None = None
    reason = ""
    clock = asyncio.get_running_loop().time
    while not upload.complete:
        on_progress(upload.committed_size, upload.size_bytes)
        try:
            return await _stream(stub, upload, file, on_progress)
        except TimeoutError:
            reason = f"nothing was taken for {STALL_SECONDS:g} seconds"
        except aio.AioRpcError as failure:
            error = named(failure)
            # Another place than ours: the server's word counts, and GetUpload tells it.
            if not _is_broken(failure) and not isinstance(error, WrongOffset):
                raise error from failure
            # What the server says goes before what gRPC tells where that was lost.
            if is_answer(failure) or not reason:
                reason = str(error)
        stuck_since = stuck_since or clock()
        if clock() - stuck_since > RECONNECT_SECONDS:
            raise DependencyUnavailable(f"{file.name} could not be uploaded: {reason}")
        await asyncio.sleep(PAUSE_SECONDS)
        request = dataset_pb2.GetUploadRequest(name=upload.name)
        reached = (await call(stub.GetUpload, request)).upload
        if reached.committed_size > upload.committed_size:
            stuck_since, reason = None, ""
        upload = reached
    on_progress(upload.size_bytes, upload.size_bytes)
    return upload


async def _stream(
    stub: dataset_pb2_grpc.DatasetServiceAsyncStub,
    upload: dataset_pb2.Upload,
    file: Path,
    on_progress: UploadProgress,
) -> dataset_pb2.Upload:
    """Send the rest of the file in one stream."""
    clock = asyncio.get_running_loop().time
    unreadable: list[InvalidField] = []

    async def pieces() -> AsyncIterator[dataset_pb2.WriteUploadRequest]:
        try:
            async for piece in _pieces(upload, file):
                patience.reschedule(clock() + STALL_SECONDS)
                yield piece
                on_progress(piece.offset + len(piece.data), upload.size_bytes)
        except InvalidField as error:
            unreadable.append(error)
            raise

    try:
        async with asyncio.timeout(STALL_SECONDS) as patience:
            return (await stub.WriteUpload(pieces())).upload
    except asyncio.CancelledError:
        # All that gRPC tells of a failure among the requests is that it cancelled the call.
        if unreadable:
            raise unreadable[0] from None
        raise


async def _pieces(upload: dataset_pb2.Upload, file: Path) -> AsyncIterator[dataset_pb2.WriteUploadRequest]:
    offset = upload.committed_size
    with readable(file), file.open("rb") as stream:
        stream.seek(offset)
        while True:
            data = await asyncio.to_thread(stream.read, PIECE_BYTES)
            finish = offset + len(data) >= upload.size_bytes
            if not data and not finish:
                raise InvalidField(f"{file} became shorter while it was sent")
            yield dataset_pb2.WriteUploadRequest(name=upload.name, offset=offset, data=data, finish=finish)
            offset += len(data)
            if finish:
                return


def _is_broken(failure: aio.AioRpcError) -> bool:
    # Where the server ends a stream while a piece is on its way, gRPC may lose what it said and tell of an
    # error of its own.
    lost = failure.code() == grpc.StatusCode.INTERNAL and not is_answer(failure)
    return lost or is_away(failure)


def describe(file: Path) -> dataset_pb2.Upload:
    """What is announced of a file: its name, length and SHA-256.

    Raises:
        InvalidField: it cannot be read, or is empty.
    """
    with readable(file), file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
        size = stream.tell()
    if size == 0:
        raise InvalidField(f"{file} is empty")
    return dataset_pb2.Upload(filename=file.name, size_bytes=size, sha256=digest)


def as_file(path: Path, scratch: Path) -> Path:
    """The path itself, or a tar of the folder, made below `scratch`: the same folder gives the same bytes,
    whoever owns it and whenever it was written.

    Raises:
        InvalidField: it is neither a file nor a folder, a folder without files, or cannot be read.
    """
    with readable(path):
        if path.is_file():
            return path
        if not path.is_dir():
            raise InvalidField(f"{path} is neither a file nor a folder")
        members = sorted(member for member in path.rglob("*") if member.is_file())
        if not members:
            raise InvalidField(f"the folder {path} holds no file")
        packed = scratch / f"{path.resolve().name or 'folder'}.tar"
        # Links are followed: what they point at would mean nothing elsewhere.
        with tarfile.open(packed, "w", format=tarfile.PAX_FORMAT, dereference=True) as tar:
            for member in members:
                tar.add(member, arcname=member.relative_to(path).as_posix(), filter=_anonymous)
        return packed


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.mtime = member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mode = 0o644
    return member


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Name what went wrong while a file of the user was read.

    Raises:
        InvalidField: it cannot be read.
    """
    try:
        yield
    except OSError as failure:
        raise InvalidField(f"{path} cannot be read: {failure.strerror or failure}") from failure
