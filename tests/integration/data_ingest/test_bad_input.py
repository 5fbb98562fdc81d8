"""Bad files get a clear error, and the service goes on."""

import struct
from typing import Any

from lepton.dataset.v1 import dataset_pb2 as pb
from lepton.job.v1 import job_pb2
from lepton_common.status import from_status

GOOD = b"x,label\n" + b"".join(b"%d.5,%s\n" % (n, b"ab"[n % 2 : n % 2 + 1]) for n in range(60))
X = pb.Schema(columns=[pb.Column(name="x"), pb.Column(name="label")])


def idx(*sizes: int) -> bytes:
    """The header of an IDX file, and nothing of what it promises."""
    return bytes([0, 0, 8, len(sizes)]) + struct.pack(f">{len(sizes)}I", *sizes)


BAD_FILES: list[tuple[str, bytes, dict[str, Any], str, str]] = [
    ("ten.idx", idx(10_000_000, 32, 32), {}, "MALFORMED_FILE", "make 10240000016 bytes"),
    ("d.csv", GOOD + b"twelve,a\n", {}, "TOO_MANY_REJECTED", "column 'x': 'twelve' is not a number"),
    ("d.csv", GOOD, {"schema": pb.Schema(label="species")}, "INVALID_FIELD", "'species' is not one of"),
    ("d.csv", GOOD.replace(b"x,", b"z,"), {"schema": X}, "SCHEMA_VIOLATION", "there is no column 'x'"),
    ("one.idx", idx(1, 100_000, 100_000), {}, "TOO_LARGE", "one record has 10000000000 bytes"),
]
"""One for every reason that a build can fail for."""


async def test_every_bad_file_fails_its_version_with_a_reason(client: Any) -> None:
    dataset = await client.dataset()
    versions = []
    for filename, data, spec, _, _ in BAD_FILES:
        upload = await client.upload(dataset, data, filename)
        versions.append(await client.create(dataset, upload, **spec))
    for version, (filename, _, _, reason, text) in zip(versions, BAD_FILES, strict=True):
        ended = await client.ended(version.name)
        assert ended.status.state == job_pb2.JOB_STATE_FAILED, filename
        error = from_status(ended.status.error)
        assert error.reason == reason, filename
        assert text in str(error)
        assert ended.status.attempt == 1


async def test_the_service_goes_on_after_all_that(client: Any) -> None:
    dataset = await client.dataset()
    version = await client.build(dataset, await client.upload(dataset, GOOD, "good.csv"))
    assert version.counts.train > 0
    assert version.status.attempt == 1
