"""How large the held-out splits are."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lepton_common.errors import FieldViolation, InvalidField


@dataclass(frozen=True)
class Fractions:
    """How records without a fixed split are divided; the rest is for training."""

    validation: float = 0.1
    """Share of the validation split."""
    test: float = 0.1
    """Share of the test split."""
    seed: int = 0
    """Seed of the division."""

    @classmethod
    def from_json(cls, document: Mapping[str, Any] | None) -> "Fractions":
        """Read the contract's JSON form; None, where there is none, is the default."""
        if document is None:
            return cls()
        # JSON leaves zeros out, and writes an int64 as text.
        return cls(document.get("validation", 0.0), document.get("test", 0.0), int(document.get("seed", 0)))

    def check(self) -> None:
        """Refuse shares that leave nothing to train on.

        Raises:
            InvalidField: they make up the whole, or more.
        """
        if self.validation + self.test >= 1:
            description = "validation and test must leave something for training: their sum must be below 1"
            raise InvalidField(
                f"the fractions do not fit: {description}",
                violations=[FieldViolation("spec.fractions", description)],
            )
