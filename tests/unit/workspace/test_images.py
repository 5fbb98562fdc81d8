"""The images: what is built, and that what is shipped is small, nobody's root and complete."""

import json
import re
import subprocess
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[3]
LABELS = ("title", "description", "version", "revision")


@dataclass(frozen=True)
class Build:
    """One image, as `make` would have it built."""

    name: str
    dockerfile: Path
    target: str
    arguments: dict[str, str]

    def stage(self, name: str) -> str:
        """The instructions of a stage, each on a line, with the build arguments put in."""
        text = re.sub(r"\\\n\s*", "", (ROOT / self.dockerfile).read_text())
        stages = re.split(r"^FROM \S+ AS (\S+)\n", text, flags=re.MULTILINE)
        stage = dict(zip(stages[1::2], stages[2::2], strict=True))[name]
        arguments = {
            argument: self.arguments.get(argument, default)
            for argument, default in re.findall(r"^ARG (\w+)=(\S+)", stage, re.MULTILINE)
        }
        return re.sub(r"\$\{(\w+)\}", lambda found: arguments.get(found[1], found[0]), stage)

    @property
    def shipped(self) -> str:
        """What is in the image."""
        return self.stage(self.target)

    @property
    def lock(self) -> Path:
        """The lock that its packages come from."""
        (dependencies,) = re.findall(r"^COPY --from=(\S+) /venv /venv$", self.shipped, re.MULTILINE)
        (synced,) = re.findall(r"--require-hashes (requirements/\S+\.txt)", self.stage(dependencies))
        return ROOT / str(synced)

    @property
    def members(self) -> list[str]:
        """The folders of our own code in it."""
        return re.findall(r"^COPY (\S+) \1$", self.stage("code"), re.MULTILINE)


def builds() -> Iterator[Build]:
    """What `make images images-gpu` does."""
    told = subprocess.run(
        ["make", "--dry-run", "images", "images-gpu", "BUILD=docker build"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for line in re.sub(r"\\\n\s*", "", told).splitlines():
        if not line.startswith("docker build"):
            continue
        options = re.findall(r"--(\S+) (\S+)", line)
        named = dict(options)
        yield Build(
            named["tag"].removeprefix("localhost/lepton/").removesuffix(":dev"),
            Path(named["file"]),
            named["target"],
            dict(value.split("=", 1) for option, value in options if option == "build-arg"),
        )


BUILDS = [*builds()]
every = pytest.mark.parametrize("build", BUILDS, ids=lambda build: build.name)


def test_every_dockerfile_is_built_for_each_of_its_images() -> None:
    made = {(build.dockerfile, build.target) for build in BUILDS}
    there = {
        (path.relative_to(ROOT), stage)
        for path in [*ROOT.glob("services/*/Dockerfile"), *ROOT.glob("libs/*/Dockerfile")]
        for stage in re.findall(r"^FROM \S+ AS (service|worker|client)$", path.read_text(), re.MULTILINE)
    }
    assert made == there
    assert len({build.name for build in BUILDS}) == len(BUILDS)


@every
def test_an_image_has_the_packages_of_the_lock_of_its_name(build: Build) -> None:
    assert build.lock == ROOT / "requirements" / f"{build.name}.txt"
    assert "--hash=sha256:" in build.lock.read_text()


@every
def test_nothing_is_run_in_what_is_shipped_and_no_tool_is_in_it(build: Build) -> None:
    instructions = {line.split()[0] for line in build.shipped.splitlines() if line.strip()}
    assert instructions <= {"COPY", "ENV", "USER", "ENTRYPOINT", "ARG", "LABEL"}
    copied = re.findall(r"^COPY (.*)$", build.shipped, re.MULTILINE)
    assert [line.partition(" ")[2] for line in copied] == ["/venv /venv", "/app /app"], "the code comes last"
    assert "--without-pip /venv" in build.stage(copied[0].split()[0].removeprefix("--from="))


@every
def test_an_image_is_nobodys_root_and_says_what_it_is(build: Build) -> None:
    assert re.findall(r"^USER (.*)$", build.shipped, re.MULTILINE) == ["65532:65532"]
    for label in LABELS:
        (value,) = re.findall(rf'org\.opencontainers\.image\.{label}=("[^"]+"|\S+)', build.shipped)
        assert "$" not in value
    assert "version=dev" in build.shipped


@every
def test_the_entry_point_is_in_the_code(build: Build) -> None:
    (line,) = re.findall(r"^ENTRYPOINT (.*)$", build.shipped, re.MULTILINE)
    program, *arguments = json.loads(line)
    if build.name == "client":
        assert (program, arguments) == ("/venv/bin/lepton", [])
        assert "from lepton_sdk.cli import main" in build.stage("dependencies")
        return
    assert (program, arguments[0]) == ("/venv/bin/python", "-m")
    assert arguments[1].endswith(".worker") == (build.target == "worker")
    module = Path(*arguments[1].split("."), "__main__.py")
    assert any((ROOT / member / "src" / module).is_file() for member in build.members)


@every
def test_an_image_has_the_members_that_its_own_needs(build: Build) -> None:
    projects = {}
    for path in ROOT.glob("*/*/pyproject.toml"):
        project = tomllib.loads(path.read_text())["project"]
        projects[project["name"]] = project
    own = f"lepton-{build.dockerfile.parent.name}"
    extras_of_own = ",".join(projects[own].get("optional-dependencies", {}))
    reached: set[str] = set()
    waiting = {f"{own}[{extras_of_own}]"}
    while waiting:
        reached |= waiting
        waiting = {line for told in waiting for line in _members_asked_for(told, projects)} - reached
    needed = {Requirement(told).name for told in reached}
    assert {f"lepton-{Path(member).name}" for member in build.members} == needed


def _members_asked_for(told: str, projects: Mapping[str, Any]) -> Iterator[str]:
    """The requirements of a requirement that are members themselves."""
    requirement = Requirement(told)
    project = projects[requirement.name]
    lines = [*project["dependencies"]]
    for extra in requirement.extras:
        lines += project["optional-dependencies"][extra]
    return (line for line in lines if Requirement(line).name in projects)
