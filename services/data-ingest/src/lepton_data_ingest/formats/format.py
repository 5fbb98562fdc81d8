"""The formats there are."""

from enum import StrEnum


class Format(StrEnum):
    """A format that can be read."""

    CSV = "csv"
    PARQUET = "parquet"
    NPZ = "npz"
    IDX = "idx"
    IMAGE_TAR = "image_tar"
