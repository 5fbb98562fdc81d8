"""Where the services are.

`lepton up` writes the addresses of what it started to `endpoints.json` in Lepton's home folder
(`$LEPTON_HOME`, by default `~/.lepton`); a cluster's addresses are a file of the same form, named by
`$LEPTON_ENDPOINTS`.
"""

import json
import os
import re
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from lepton_common.errors import DependencyUnavailable, InvalidField


@dataclass(frozen=True, kw_only=True)
class Addresses:
    """`host:port` of every service."""

    data_ingest: str
    trainer: str
    compressor: str
    registry: str
    inference: str
    rl_agent: str

    def write(self, path: Path) -> None:
        """Write the file that `read` reads, whole or not at all."""
        draft = path.with_suffix(".new")
        draft.write_text(json.dumps(asdict(self), indent=2) + "\n")
        draft.replace(path)

    @classmethod
    def read(cls, path: Path | None = None) -> "Addresses":
        """Read an `endpoints.json`; without a path, the one that the environment names.

        Raises:
            DependencyUnavailable: there is no such file.
            InvalidField: it cannot be read, or does not hold an address for every service.
        """
        path = path or default_path()
        try:
            found = json.loads(path.read_bytes())
        except FileNotFoundError as missing:
            raise DependencyUnavailable(
                f"no services are known: {path} does not exist. Start them with `lepton up`, or set "
                "LEPTON_ENDPOINTS to the endpoints.json of a cluster."
            ) from missing
        except OSError as failure:
            raise InvalidField(f"{path} cannot be read: {failure.strerror}") from failure
        except (ValueError, RecursionError) as malformed:
            raise InvalidField(f"{path} is not JSON: {malformed}") from malformed
        names = [field.name for field in fields(cls)]
        if not isinstance(found, dict) or not all(_is_address(found.get(name)) for name in names):
            raise InvalidField(f"{path} must name a `host:port` for each of: {', '.join(names)}")
        return cls(**{name: found[name] for name in names})


def _is_address(text: object) -> bool:
    return isinstance(text, str) and re.fullmatch(r"\S+:[0-9]{1,5}", text) is not None


def home() -> Path:
    """Lepton's own folder of this user."""
    return Path(os.environ.get("LEPTON_HOME", "~/.lepton")).expanduser()


def default_path() -> Path:
    """The `endpoints.json` that is used when none is named."""
    named = os.environ.get("LEPTON_ENDPOINTS")
    return Path(named).expanduser() if named else home() / "endpoints.json"
