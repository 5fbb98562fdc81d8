"""Labels that only held-out records have: no model can learn them, so these records are rejected.

Which labels the training split has is known when the last record was read. Until then the first places of
each doubtful label are remembered, which is little, instead of reading the sources twice.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lepton_data_ingest.rejections import MAX_TOLD
from lepton_data_ingest.validation import Records
from lepton_learn.manifest import Split


@dataclass(kw_only=True)
class Stray:
    """Records of one label, in one held-out split and one group of files."""

    label: Any
    """The label: a str or an int."""
    split: Split
    """The split."""
    group: int
    """Number of the group of files."""
    count: int = 0
    """How many there are."""
    places: list[int] = field(default_factory=list)
    """The numbers of the first of them in their file."""


class Strays:
    """The labels seen in held-out splits and not in training so far."""

    def __init__(self, label: str) -> None:
        """Watch the column `label`."""
        self._label = label
        self._trained: set[Any] = set()
        self._held_out: dict[tuple[Any, Split, int], Stray] = {}

    def add(self, parts: Mapping[Split, Records], *, group: int) -> None:
        """Take in a batch.

        Args:
            parts: its records by split.
            group: number of their group of files.
        """
        self._trained.update(parts[Split.TRAIN].columns[self._label].tolist())
        for split in (Split.VALIDATION, Split.TEST):
            labels = parts[split].columns[self._label].tolist()
            for label, place in zip(labels, parts[split].places.tolist(), strict=True):
                if label not in self._trained:
                    new = Stray(label=label, split=split, group=group)
                    stray = self._held_out.setdefault((label, split, group), new)
                    stray.count += 1
                    if len(stray.places) < MAX_TOLD:
                        stray.places.append(place)

    def found(self) -> list[Stray]:
        """What training has not shown."""
        return [stray for stray in self._held_out.values() if stray.label not in self._trained]
