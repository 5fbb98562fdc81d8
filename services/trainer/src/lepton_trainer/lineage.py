"""Where a trained model came from: its training job, the dataset version, and the files behind that."""

from dataclasses import asdict, dataclass
from typing import Any, Literal, Self, TypeAlias

from lepton_trainer.budget import Cost
from lepton_trainer.training import DatasetVersion

Kind: TypeAlias = Literal["SOURCE_FILE", "DATASET_VERSION", "TRAINING_JOB", "STUDY"]


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


def chain(job: str, dataset: DatasetVersion, *, privacy: Cost | None = None) -> list[Node]:
    """Return the nodes behind a model that `job` trained on `dataset`, nearest first."""
    files = dict.fromkeys(dataset.source_files)
    filenames = tuple(dict.fromkeys(file.filename for file in files))
    return [
        Node(name=job, kind="TRAINING_JOB", parents=(dataset.name,), privacy=privacy),
        Node(name=dataset.name, kind="DATASET_VERSION", digest=dataset.digest, parents=filenames),
        *(Node(name=file.filename, kind="SOURCE_FILE", digest=file.sha256) for file in files),
    ]
