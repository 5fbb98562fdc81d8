"""What the main profiles render, as files: a change of the chart shows in review what it does.

`make charts-generate` writes them anew.
"""

import os
from pathlib import Path

import yaml

from .manifests import Document, Helm

SNAPSHOTS = Path(__file__).parent / "snapshots"


def without_what_is_new_every_time(document: Document) -> Document:
    """The document without tokens, keys, certificates and times."""
    if document["kind"] != "Secret":
        return document
    metadata = dict(document["metadata"])
    if "annotations" in metadata:
        metadata["annotations"] = dict.fromkeys(metadata["annotations"], "made")
    return document | {"metadata": metadata, "data": dict.fromkeys(document["data"], "made")}


def test_what_is_rendered_is_what_was_reviewed(helm: Helm, profile: str) -> None:
    documents = [without_what_is_new_every_time(document) for document in helm.render(profile)]
    documents.sort(key=lambda document: (document["kind"], document["metadata"]["name"]))
    text = yaml.dump_all(documents, Dumper=yaml.CSafeDumper, width=110)
    path = SNAPSHOTS / f"{profile}.yaml"
    if os.environ.get("SNAPSHOTS") == "write":
        path.write_text(text)
    assert path.read_text() == text, "make charts-generate, and look at the difference"
