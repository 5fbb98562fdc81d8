"""Where a trained model came from: its training job, the dataset version and the files behind that, and what
the model that it began with came from.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self, TypeAlias

from lepton_trainer.budget import Cost
from lepton_trainer.training import DatasetVersion

Kind: TypeAlias = Literal[
    "SOURCE_FILE",
    "DATASET_VERSION",
    "TRAINING_JOB",
    "STUDY",
    "MODEL_VERSION",
    "COMPRESSION_JOB",
    "LEARNING_RUN",
]


@dataclass(frozen=True, kw_only=True)
class Node:
    """One link of the chain.

    Attributes:
        name: Name of the resource or of the file.
        kind: What it is, as the contract names it.
        digest: SHA-256 of its content; empty where it has none.
        parents: Names of the nodes that it was made from.
        privacy: What a private training promises to each record; None: nothing.
    """

    name: str
    kind: Kind
    digest: str = ""
    parents: tuple[str, ...] = ()
    privacy: Cost | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the node as JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> Self:
        """Return the node that `to_dict` wrote."""
        privacy = document.get("privacy")
        return cls(
            **{
                **document,
                "parents": tuple(document["parents"]),
                "privacy": None if privacy is None else Cost(**privacy),
            }
        )


def chain(
    job: str, dataset: DatasetVersion, *, base: Sequence[Node] = (), privacy: Cost | None = None
) -> list[Node]:
    """Return the nodes behind a model that `job` trained on `dataset`, each once, nearest first.

    Args:
        job: Name of the training job.
        dataset: What it learned from.
        base: The model version that it began with, first, and the nodes behind that.
        privacy: What it promises to each record; None: nothing.
    """
    files = dict.fromkeys(dataset.source_files)
    filenames = tuple(dict.fromkeys(file.filename for file in files))
    parents = (dataset.name, *(version.name for version in base[:1]))
    own = [
        Node(name=job, kind="TRAINING_JOB", parents=parents, privacy=privacy),
        Node(name=dataset.name, kind="DATASET_VERSION", digest=dataset.digest, parents=filenames),
        *(Node(name=file.filename, kind="SOURCE_FILE", digest=file.sha256) for file in files),
    ]
    # Trained twice on one dataset version, a model has it behind itself twice.
    return list(dict.fromkeys([*own, *base]))
