"""The chain behind a trained model."""

import json

from lepton_trainer.lineage import Node, chain
from lepton_trainer.training import DatasetVersion, SourceFile

DATASET = DatasetVersion(
    name="datasets/digits/versions/1",
    state="SUCCEEDED",
    digest="ab12",
    source_files=(
        SourceFile(filename="images.idx", sha256="01"),
        SourceFile(filename="labels.idx", sha256="02"),
        SourceFile(filename="labels.idx", sha256="03"),
        SourceFile(filename="images.idx", sha256="01"),
    ),
)


def test_the_chain_leads_from_the_job_to_the_files_each_once() -> None:
    assert chain("trainingJobs/digits", DATASET) == [
        Node(name="trainingJobs/digits", kind="TRAINING_JOB", parents=("datasets/digits/versions/1",)),
        Node(
            name="datasets/digits/versions/1",
            kind="DATASET_VERSION",
            digest="ab12",
            parents=("images.idx", "labels.idx"),
        ),
        Node(name="images.idx", kind="SOURCE_FILE", digest="01"),
        Node(name="labels.idx", kind="SOURCE_FILE", digest="02"),
        Node(name="labels.idx", kind="SOURCE_FILE", digest="03"),
    ]


def test_a_base_model_is_a_parent_and_brings_what_is_behind_it() -> None:
    version = Node(
        name="models/digits/versions/4", kind="MODEL_VERSION", digest="cd", parents=("trainingJobs/before",)
    )
    before = chain("trainingJobs/before", DATASET)
    found = chain("trainingJobs/digits", DATASET, base=[version, *before])
    assert found[0].parents == ("datasets/digits/versions/1", "models/digits/versions/4")
    # The dataset version and its files are behind both trainings.
    assert found == [found[0], *chain("trainingJobs/digits", DATASET)[1:], version, before[0]]


def test_a_node_survives_json() -> None:
    nodes = chain("trainingJobs/digits", DATASET)
    written = json.dumps([node.to_dict() for node in nodes])
    assert [Node.from_dict(document) for document in json.loads(written)] == nodes
