"""A member of the workspace declares what it imports: then its image holds what it needs."""

import ast
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[3]
MEMBERS = [path.parent for path in sorted(ROOT.glob("*/*/pyproject.toml"))]
# The namespaces of the contracts are not listed under what is installed.
CONTRACTS = {name: ["lepton-contracts"] for name in ("buf", "inference", "lepton")}
DISTRIBUTIONS = {**packages_distributions(), **CONTRACTS}


def imported(member: Path) -> Iterator[str]:
    for path in member.glob("src/**/*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield node.module or ""


def declared(member: Path) -> set[str]:
    project = tomllib.loads((member / "pyproject.toml").read_text())["project"]
    lines = chain(project["dependencies"], *project.get("optional-dependencies", {}).values())
    return {project["name"], *(canonicalize_name(Requirement(line).name) for line in lines)}


@pytest.mark.parametrize("member", MEMBERS, ids=lambda member: member.name)
def test_a_member_declares_what_it_imports(member: Path) -> None:
    packages = {name.partition(".")[0] for name in imported(member)} - sys.stdlib_module_names
    missing = {
        package
        for package in packages
        if declared(member).isdisjoint(
            canonicalize_name(name) for name in DISTRIBUTIONS.get(package, [package])
        )
    }
    assert missing == set()
