"""The values of the chart: their schemas and their reference, made from what the values files say.

    python charts/values.py generate   write every values.schema.json, and the tables in the chart's README
    python charts/values.py check      say what of it is not as it would be written

A values file tells a value's name, its default and, behind `# --`, what it is for. The default tells its
type; `IDEAS` and `LIMITS` add what a default cannot tell.
"""

import argparse
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import yaml

Schema: TypeAlias = dict[str, Any]

CHART = Path(__file__).resolve().parent / "lepton"
README = CHART / "README.md"
PARTS = ("registry", "data-ingest", "trainer", "compressor", "rl-agent", "inference")
BEGIN, END = "<!-- values -->\n", "<!-- end of values -->\n"

_STRINGS: Schema = {"type": "object", "additionalProperties": {"type": "string"}}
_OBJECTS: Schema = {"type": "array", "items": {"type": "object"}}
_COUNT_OR_PERCENT: Schema = {"type": ["integer", "string"], "pattern": "^[0-9]+%?$"}
_CALLER: Schema = {"name": {"type": "string"}, "roles": {"type": "array", "items": {"type": "string"}}}


def _closed(properties: Schema, *, required: bool = False) -> Schema:
    schema: Schema = {"type": "object", "additionalProperties": False, "properties": properties}
    return schema | ({"required": [*properties]} if required else {})


def _callers(proof: Schema) -> Schema:
    return {"type": "array", "items": _closed({**_CALLER, **proof}, required=True)}


IDEAS: dict[str, Schema] = {
    "affinity": {"type": "object"},
    "annotations": _STRINGS,
    "behavior": {"type": "object"},
    "certificates": _callers({"identity": {"type": "string"}}),
    "env": {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}},
    "issuerRef": _closed({name: {"type": "string"} for name in ("name", "kind", "group")}),
    "labels": _STRINGS,
    "peers": _OBJECTS,
    "ports": {"type": "array", "minItems": 1, "items": {"type": "integer", "minimum": 1, "maximum": 65535}},
    "resources": _closed(
        {
            name: {"type": "object", "additionalProperties": {"type": ["string", "number"]}}
            for name in ("requests", "limits")
        }
    ),
    "rollingUpdate": _closed({"maxSurge": _COUNT_OR_PERCENT, "maxUnavailable": _COUNT_OR_PERCENT}),
    "strings": {"type": "array", "items": {"type": "string"}},
    "tokens": _callers({"sha256": {"type": "string", "pattern": "^[0-9a-f]{64}$"}}),
    "tolerations": _OBJECTS,
}
"""What stands under a name that means the same everywhere."""

_SAME_IDEA = {
    "clients": "peers",
    "commands": "strings",
    "monitoring": "peers",
    "nodeSelector": "labels",
    "podAnnotations": "annotations",
    "podLabels": "labels",
    "pullSecrets": "strings",
    "serviceAccountAnnotations": "annotations",
    "to": "peers",
    "topologyKeys": "strings",
}

LIMITS: dict[str, Schema] = {
    "backoffLimit": {"minimum": 0},
    "count": {"minimum": 0},
    "cpuPercent": {"minimum": 0},
    "device": {"enum": ["", "cpu", "cuda", "tensorrt"]},
    "drainSeconds": {"minimum": 0},
    "logLevel": {"enum": ["DEBUG", "INFO", "WARNING", "ERROR"]},
    "maxConnectionAgeSeconds": {"minimum": 0},
    "maxQueueRequests": {"minimum": 1},
    "maxReplicas": {"minimum": 1},
    "maxRunningJobs": {"minimum": 0},
    "minReplicas": {"minimum": 1},
    "mode": {"enum": ["generated", "certManager", "provided", "off"]},
    "modelGpuMemoryBytes": {"minimum": 0},
    "modelMemoryBytes": {"minimum": 0},
    "preStopSeconds": {"minimum": 1},
    "pullPolicy": {"enum": ["Always", "IfNotPresent", "Never"]},
    "queueRequests": {"minimum": 0},
    "replicas": {"minimum": 0},
    "startSeconds": {"minimum": 1},
    "threads": {"minimum": 0},
    "workers": {"minimum": 0, "maximum": 64},
    "ttlSecondsAfterFinished": {"minimum": 0},
    "validDays": {"minimum": 1},
}
"""What a value may be, beyond its type."""

# A pool's name becomes part of its Services' names, beside which there is `<release>-inference-headless`.
_POOL_NAME: Schema = {"pattern": "^[a-z0-9]([a-z0-9-]{0,28}[a-z0-9])?$", "not": {"pattern": "(^|-)headless$"}}


@dataclass(frozen=True)
class Value:
    """One documented value."""

    path: str
    default: object
    meaning: str


def schema(part: str) -> Schema:
    """The schema of a part's values; of the whole chart's if `part` is empty."""
    values = _load(part)
    used: set[str] = set()
    properties = {name: _typed(name, value, used) for name, value in values.items()}
    if part:
        # What all parts share is checked where it is said.
        properties["global"] = {"type": "object"}
    else:
        properties |= {name: {"type": "object"} for name in (*PARTS, "lepton-library")}
    definitions = {name: IDEAS[name] for name in sorted(used)}
    if "pools" in properties:
        definitions["pool"] = properties["pool"]
        properties["pool"] = {"$ref": "#/$defs/pool"}
        properties["pools"] = {
            "type": "object",
            "propertyNames": _POOL_NAME,
            "additionalProperties": {"oneOf": [{"$ref": "#/$defs/pool"}, {"type": "null"}]},
        }
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        **_closed(properties),
        "$defs": definitions,
    }


def documented(part: str) -> Iterator[Value]:
    """Every value of a part that has a `# --` comment, in the order of the file."""
    defaults, path, meaning = _load(part), list[tuple[int, str]](), ""
    for line in _file(part).read_text().splitlines():
        if comment := re.match(r" *# -- (.*)", line):
            meaning = comment[1]
        elif meaning and (more := re.match(r" *# (.*)", line)):
            meaning += " " + more[1]
        elif key := re.match(r"( *)([\w-]+):", line):
            path = [(depth, name) for depth, name in path if depth < len(key[1])]
            path.append((len(key[1]), key[2]))
            if meaning:
                names = [name for _, name in path]
                yield Value(".".join([part, *names] if part else names), _at(defaults, names), meaning)
            meaning = ""


def reference() -> str:
    """The tables of all values, in Markdown."""
    lines = []
    for part in ("", *PARTS):
        lines += [f"### {part or 'What all parts share'}", "", "| value | default | is |", "|---|---|---|"]
        for value in documented(part):
            if not part and value.path.partition(".")[0] in PARTS:
                continue
            lines.append(f"| `{value.path}` | `{json.dumps(value.default)}` | {value.meaning} |")
        lines.append("")
    return "\n".join(lines)


def files() -> Iterator[tuple[Path, str]]:
    """All that is made, and what it holds."""
    for part in ("", *PARTS):
        yield _file(part).with_name("values.schema.json"), json.dumps(schema(part), indent=2) + "\n"
    before, _, rest = README.read_text().partition(BEGIN)
    yield README, f"{before}{BEGIN}\n{reference()}\n{END}{rest.partition(END)[2]}"


def _file(part: str) -> Path:
    return (CHART / "charts" / part if part else CHART) / "values.yaml"


def _load(part: str) -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load(_file(part).read_text())
    return values


def _at(values: Any, names: list[str]) -> object:
    for name in names:
        values = values[name]
    return values


def _typed(name: str, default: object, used: set[str]) -> Schema:
    idea = _SAME_IDEA.get(name, name)
    if idea in IDEAS and not (name == "monitoring" and isinstance(default, dict)):
        used.add(idea)
        return {"$ref": f"#/$defs/{idea}"}
    if isinstance(default, dict):
        return _closed({key: _typed(key, value, used) for key, value in default.items()})
    kinds: dict[type, str] = {bool: "boolean", int: "integer", str: "string"}
    return {"type": kinds[type(default)], **LIMITS.get(name, {})}


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Generate or check what follows from the chart's values.")
    parser.add_argument("command", choices=["generate", "check"])
    stale = [(path, text) for path, text in files() if not path.exists() or path.read_text() != text]
    if parser.parse_args().command == "generate":
        for path, text in stale:
            path.write_text(text)
        return 0
    for path, _ in stale:
        name = path.relative_to(CHART.parent.parent)
        print(f"{name} is not what the values say: make charts-generate", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
