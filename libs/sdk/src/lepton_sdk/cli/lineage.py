"""`lepton lineage`: walk from a model version back to its source files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from lepton.model.v1 import model_pb2
from lepton_sdk.cli.session import Output, as_dict, connected, version_name
from lepton_sdk.client import Client

if TYPE_CHECKING:
    from rich.tree import Tree


@click.command()
@click.argument("version")
@connected
async def command(client: Client, output: Output, version: str) -> None:
    """Walk from VERSION (`digits`, `digits@2` or a full name) back to its source files."""
    nodes = await client.models.lineage(version_name("models", version))
    if output.json:
        output.document([as_dict(node) for node in nodes])
        return
    from rich.console import Console
    from rich.tree import Tree

    by_name = {node.name: node for node in nodes}
    tree = Tree(_label(nodes[0]))
    _grow(tree, nodes[0], by_name)
    Console().print(tree)


def _grow(tree: Tree, node: model_pb2.LineageNode, by_name: dict[str, model_pb2.LineageNode]) -> None:
    for name in node.parents:
        parent = by_name.get(name)
        if parent is None:
            tree.add(name)
        else:
            _grow(tree.add(_label(parent)), parent, by_name)


def _label(node: model_pb2.LineageNode) -> str:
    kind = model_pb2.LineageKind.Name(node.kind).removeprefix("LINEAGE_KIND_").replace("_", " ").lower()
    digest = f"  sha256 {node.digest[:12]}" if node.digest else ""
    return f"{kind}  {node.name}{digest}"
