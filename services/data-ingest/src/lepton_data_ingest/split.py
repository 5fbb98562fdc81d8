"""Which split a record belongs to: decided by its content and a seed, and by nothing else.

So equal records always fall on the same side, in every version and whatever stands around them, and a larger
held-out share only adds to a smaller one.
"""

import hashlib
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lepton_common.errors import FieldViolation, InvalidField
from lepton_data_ingest.fractions import Fractions
from lepton_learn.manifest import Split
from lepton_learn.schema import Batch

_PERSON = b"lepton.split"
_HASH_BYTES = 8


class Division:
    """Divides records among the splits that no source fixes."""

    def __init__(self, fractions: Fractions, *, fixed: Collection[Split]) -> None:
        """Prepare the division.

        Args:
            fractions: the shares. What a fixed split would get goes to training, or if that is fixed too, to
                the others in proportion.
            fixed: splits that some source fixes for its records.
        """
        shares = {
            Split.TEST: 0.0 if Split.TEST in fixed else fractions.test,
            Split.VALIDATION: 0.0 if Split.VALIDATION in fixed else fractions.validation,
        }
        total = sum(shares.values())
        if Split.TRAIN in fixed and total > 0:
            shares = {split: share / total for split, share in shares.items()}
        self._test_below = shares[Split.TEST]
        self._validation_below = shares[Split.TEST] + shares[Split.VALIDATION]
        self._none_left = Split.TRAIN in fixed and total == 0
        self._salt = fractions.seed.to_bytes(8, "big", signed=True)

    def assign(self, columns: Batch, *, fixed: Split | None = None) -> Mapping[Split, NDArray[np.bool_]]:
        """By split, which of the n > 0 records belong to it: bool [n].

        Args:
            columns: raw arrays.
            fixed: the split that their source fixes for all.

        Raises:
            InvalidField: every split is fixed by other sources.
        """
        if fixed is not None:
            records = len(next(iter(columns.values())))
            return {split: np.full(records, split is fixed) for split in Split}
        if self._none_left:
            description = "sources fix every split, so each source needs one"
            raise InvalidField(
                f"there are records that no split is left for: {description}",
                violations=[FieldViolation("spec.sources", description)],
            )
        places = content_hashes(columns, salt=self._salt) / 2.0**64
        test = places < self._test_below
        validation = ~test & (places < self._validation_below)
        if self._validation_below >= 1:
            # Rounding must not leave a record over for training, which is fixed.
            validation |= ~test & ~validation
        return {Split.TRAIN: ~(test | validation), Split.VALIDATION: validation, Split.TEST: test}


def content_hashes(columns: Batch, *, salt: bytes) -> NDArray[np.uint64]:
    """A hash of every record's content (BLAKE2b).

    Args:
        columns: raw arrays of n > 0 records; the order of the columns does not matter.
        salt: at most 16 bytes; another salt gives other hashes.

    Returns:
        uint64 [n].
    """
    rows = np.concatenate([_bytes(columns[name]) for name in sorted(columns)], axis=1)
    width = rows.shape[1]
    content = memoryview(rows.tobytes())
    digests = b"".join(
        hashlib.blake2b(
            content[start : start + width], digest_size=_HASH_BYTES, salt=salt, person=_PERSON
        ).digest()
        for start in range(0, len(content), width)
    )
    return np.frombuffer(digests, "<u8")


def _bytes(values: NDArray[Any]) -> NDArray[np.uint8]:
    """A column as uint8 [n, width]; texts, which have no fixed width, by their digests."""
    if values.dtype == object:
        encoded = pa.array(values, pa.string()).dictionary_encode()
        texts = map(str, encoded.dictionary.to_pylist())
        digests = b"".join(hashlib.blake2b(text.encode(), digest_size=16).digest() for text in texts)
        rows: NDArray[np.uint8] = np.frombuffer(digests, np.uint8).reshape(-1, 16)
        return np.take(rows, encoded.indices.to_numpy(), axis=0)
    if values.dtype.kind == "f":
        # Equal numbers, equal bytes: minus zero becomes zero.
        values = values + 0.0
    return np.ascontiguousarray(values).view(np.uint8).reshape(len(values), values.itemsize * values[0].size)
