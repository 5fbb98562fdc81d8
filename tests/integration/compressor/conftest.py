"""Trained models and the dataset versions they come from, in an object store."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lepton_common.manifests import Blob, put_blob
from lepton_common.objects import ObjectStore
from lepton_learn.examples import Examples
from lepton_learn.manifest import Manifest, Shard, Split, save_manifest
from lepton_learn.recipe import Architecture, Recipe
from lepton_learn.schema import Batch, Column, ColumnType, Schema, Transform
from lepton_learn.shards import write_shard
from lepton_learn.transform import FittedTransform


@dataclass(frozen=True, kw_only=True)
class Source:
    """What a compression is given: the files of a trained model and the manifest of its dataset version."""

    objects: ObjectStore
    files: list[dict[str, Any]]
    manifest: Blob
    transform: FittedTransform
    held_out: Batch
