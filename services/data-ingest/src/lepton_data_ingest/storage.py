"""What versions leave in the object store, and what of it nobody needs any more."""

from collections.abc import Mapping

from lepton_common.manifests import get_manifest
from lepton_common.objects import ObjectStore


def sweep(objects: ObjectStore, dataset: str, *, kept: Mapping[str, str]) -> None:
    """Remove the shards and manifests of a dataset that no version has.

    Versions share shards, so those of a deleted one may live on; failed builds leave some that were never in
    a version. No version of the dataset may be being built.

    Args:
        objects: the store.
        dataset: the dataset's name, `datasets/{dataset}`.
        kept: digest by key of the manifests of all its versions.
    """
    needed = set(kept)
    for key, digest in kept.items():
        splits = get_manifest(objects, key, sha256=digest)["splits"]
        needed |= {shard["key"] for shards in splits.values() for shard in shards}
    for folder in ("blobs", "manifests"):
        for found in objects.list(f"{dataset}/{folder}"):
            if found.key not in needed:
                objects.delete(found.key)
