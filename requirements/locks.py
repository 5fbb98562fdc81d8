"""The locks: one file of exact versions and hashes for each environment that Lepton is installed into.

    python requirements/locks.py compile [NAME ...]   resolve anew (needs the package index)
    python requirements/locks.py check                compare the locks with the pyproject files (offline)

What an environment needs is said once, in the pyproject files: the members' dependencies and extras, and the
groups of the workspace. The locks of the services are resolved within the versions of `dev.txt`, so what the
tests ran is what ships. Nothing in a lock says where a package was fetched from.
"""

import argparse
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "requirements"


@dataclass(frozen=True)
class Environment:
    """One environment: a group of the workspace, or a member with some of its extras."""

    name: str
    group: str = ""
    member: str = ""
    extras: tuple[str, ...] = ()
    alone: bool = False
    """Whether it is wanted for its files, without what it needs."""

    @property
    def lock(self) -> Path:
        """The file that holds its exact versions."""
        return FOLDER / f"{self.name}.txt"

    @property
    def follows_dev(self) -> bool:
        """Whether its versions are those of `dev.txt`. Groups stand for themselves."""
        return not self.group

    def roots(self, groups: Mapping[str, list[object]]) -> list[Requirement]:
        """What is asked for, before anything is resolved."""
        if self.member:
            return [Requirement(f"lepton-{self.member}[{','.join(self.extras)}]")]
        return list(expand(groups, self.group))


# How uv writes the workspace's `environments` as the marker of a package: all of them, and those of Linux.
CPYTHON = "python_full_version < '3.12' and implementation_name == 'cpython'"
PLATFORM = (
    "(platform_machine == '{}' and platform_python_implementation == 'CPython' and sys_platform == '{}')"
)
DARWIN = PLATFORM.format("arm64", "darwin")
LINUX = PLATFORM.format("aarch64", "linux") + " or " + PLATFORM.format("x86_64", "linux")

COMPILE = shlex.split(
    "uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-header"
    " --annotation-style line --output-file"
)

# `dev` comes first: those of the members are resolved within its versions.
ENVIRONMENTS = [
    Environment("dev", group="dev"),
    Environment("bootstrap", group="bootstrap"),
    Environment("tritonclient", group="tritonclient"),
    Environment("peers-kserve", group="peers-kserve"),
    Environment("peers-mlserver", group="peers-mlserver"),
    Environment("peers-triton", group="peers-triton"),
    Environment("test-s3", group="test-s3"),
    Environment("helm3", group="helm3", alone=True),
    Environment("checkov", group="checkov"),
    Environment("tables", group="tables", alone=True),
    Environment("fuzz", group="fuzz"),
    Environment("client", member="sdk"),
    Environment("compressor", member="compressor"),
    Environment("compressor-worker", member="compressor", extras=("worker", "cpu")),
    Environment("compressor-worker-gpu", member="compressor", extras=("worker", "gpu")),
    Environment("data-ingest", member="data-ingest"),
    Environment("inference", member="inference", extras=("cpu",)),
    Environment("inference-gpu", member="inference", extras=("gpu",)),
    Environment("registry", member="registry"),
    Environment("rl-agent", member="rl-agent"),
    Environment("rl-agent-worker", member="rl-agent", extras=("worker",)),
    Environment("trainer", member="trainer"),
    Environment("trainer-worker", member="trainer", extras=("worker",)),
    Environment("trainer-worker-gpu", member="trainer", extras=("worker", "gpu")),
]


def expand(groups: Mapping[str, list[object]], name: str) -> Iterator[Requirement]:
    """The requirements of a dependency group and of the groups that it includes."""
    for entry in groups[name]:
        if isinstance(entry, dict):
            yield from expand(groups, entry["include-group"])
        else:
            yield Requirement(str(entry))


def load_groups() -> dict[str, list[object]]:
    """The dependency groups of the workspace."""
    workspace = tomllib.loads((ROOT / "pyproject.toml").read_text())
    groups: dict[str, list[object]] = workspace["dependency-groups"]
    return groups


def load_members() -> dict[str, dict[str, list[Requirement]]]:
    """The requirements of every member: by its name, then by extra ("" for the base)."""
    members = {}
    for path in sorted([*ROOT.glob("libs/*/pyproject.toml"), *ROOT.glob("services/*/pyproject.toml")]):
        project = tomllib.loads(path.read_text())["project"]
        tables = {"": project["dependencies"], **project.get("optional-dependencies", {})}
        members[project["name"]] = {
            extra: [Requirement(line) for line in lines] for extra, lines in tables.items()
        }
    return members


def compile_lock(environment: Environment) -> None:
    """Resolve one environment and write its lock, keeping an older one's versions where they fit."""
    command = [*COMPILE, str(environment.lock.relative_to(ROOT))]
    for name in load_members():
        command += ["--no-emit-package", name]
    if environment.member:
        (project,) = ROOT.glob(f"*/{environment.member}/pyproject.toml")
        command.append(str(project.relative_to(ROOT)))
        for extra in environment.extras:
            command += ["--extra", extra]
        command += ["--constraint", "requirements/dev.txt"]
    else:
        command += ["--group", f"pyproject.toml:{environment.group}"]
    if environment.alone:
        command.append("--no-deps")
    subprocess.run(command, cwd=ROOT, check=True)
    environment.lock.write_text(tidy(environment.lock.read_text()))


def tidy(lock: str) -> str:
    """The lock without what every line would repeat: the workspace's environments, and the constraint."""
    lock = lock.replace(f" ; {CPYTHON} and ({DARWIN} or {LINUX})", "")
    lock = lock.replace(f"{CPYTHON} and ({LINUX})", "sys_platform == 'linux'")
    lock = re.sub(r"-c requirements/dev\.txt, |, -c requirements/dev\.txt", "", lock)
    return lock.partition("\n# The following packages were excluded")[0].rstrip() + "\n"


@dataclass(frozen=True)
class Pin:
    """One line of a lock."""

    version: Version
    hashed: bool
    needed_by: frozenset[str]


def read_lock(path: Path) -> dict[str, Pin]:
    """The pins of a lock by name. A name with a version for each platform keeps the one for this one."""
    pins: dict[str, Pin] = {}
    for entry in re.split(r"\n(?=[a-z0-9])", path.read_text()):
        requirement = Requirement(entry.splitlines()[0].removesuffix("\\"))
        if requirement.marker and not requirement.marker.evaluate():
            continue
        (specifier,) = requirement.specifier
        via = re.search(r"# via (.*)", entry)
        needed_by = frozenset(via[1].split(", ")) if via else frozenset()
        pins[canonicalize_name(requirement.name)] = Pin(
            Version(specifier.version), "--hash=sha256:" in entry, needed_by
        )
    return pins


def wanted(environment: Environment) -> dict[str, list[Requirement]]:
    """What the pyproject files ask for in an environment, by name; members stand for what they need."""
    members = load_members()
    found: dict[str, list[Requirement]] = {}
    pending = environment.roots(load_groups())
    seen = set()
    while pending:
        requirement = pending.pop()
        if str(requirement) in seen:
            continue
        seen.add(str(requirement))
        if requirement.marker and not requirement.marker.evaluate():
            continue
        if requirement.name in members:
            tables = members[requirement.name]
            for extra in ("", *requirement.extras):
                pending += tables[extra]
        else:
            found.setdefault(canonicalize_name(requirement.name), []).append(requirement)
    return found


def problems(environment: Environment, dev: Mapping[str, Pin]) -> Iterator[str]:
    """What is wrong with the lock of an environment, in sentences."""
    pins = read_lock(environment.lock)
    needs = wanted(environment)
    for name, requirements in needs.items():
        for requirement in requirements:
            if name not in pins:
                yield f"{requirement} is asked for and not locked"
            elif not requirement.specifier.contains(pins[name].version, prereleases=True):
                yield f"{requirement} is asked for and {pins[name].version} is locked"
    for name, pin in pins.items():
        if not pin.hashed:
            yield f"{name} has no hash"
        if name not in needs and all(by.startswith(("(", "lepton-")) for by in pin.needed_by):
            yield f"{name} is locked and nothing asks for it"
        if environment.follows_dev and name in dev and pin.version != dev[name].version:
            yield f"{name} is {pin.version} here and {dev[name].version} in dev.txt"


def check() -> bool:
    """Print what is wrong with the locks; whether nothing is."""
    dev = read_lock(ENVIRONMENTS[0].lock)
    found = [
        f"{each.lock.relative_to(ROOT)}: {problem}"
        for each in ENVIRONMENTS
        for problem in problems(each, dev)
    ]
    for line in found:
        print(line, file=sys.stderr)
    return not found


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Compile or check the locks in requirements/.")
    parser.add_argument("command", choices=["compile", "check"])
    parser.add_argument("names", nargs="*", help="environments to compile; all by default")
    arguments = parser.parse_args()
    if arguments.command == "check":
        return 0 if check() else 1
    for environment in ENVIRONMENTS:
        if not arguments.names or environment.name in arguments.names:
            compile_lock(environment)
    return 0


if __name__ == "__main__":
    sys.exit(main())
