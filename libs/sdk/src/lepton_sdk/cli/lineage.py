"""`lepton lineage`: walk from a model version back to its source files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from lepton.model.v1 import model_pb2
from lepton_sdk.cli.arguments import version_name
from lepton_sdk.cli.output import Output, as_dict
from lepton_sdk.cli.session import connected
from lepton_sdk.client import Client

if TYPE_CHECKING:
    from rich.tree import Tree


@click.command()
@click.argument("version")
@connected
async def command(client: Client, output: Output, version: str) -> None:
    """Walk from a model version back to its source files.

    VERSION is `digits` (the latest), `digits@2` or its full name.
    """
    nodes = await client.models.lineage(version_name("models", version))
    if output.json:
        output.document([as_dict(node) for node in nodes])
        return
    from rich.tree import Tree

    tree = Tree(_label(nodes[0]))
    _grow(tree, nodes[0], {node.name: node for node in nodes[1:]})
    output.show(tree)


def _grow(tree: Tree, node: model_pb2.LineageNode, unseen: dict[str, model_pb2.LineageNode]) -> None:
    for name in node.parents:
        # What several nodes were made from is followed under the first of them.
        parent = unseen.pop(name, None)
        if parent is None:
            tree.add(name)
        else:
            _grow(tree.add(_label(parent)), parent, unseen)


def _label(node: model_pb2.LineageNode) -> str:
    kind = model_pb2.LineageKind.Name(node.kind).removeprefix("LINEAGE_KIND_").replace("_", " ").lower()
    digest = f"  sha256 {node.digest[:12]}" if node.digest else ""
    privacy = (
        f"  private: epsilon {node.privacy.epsilon:.4g}, delta {node.privacy.delta:.3g}"
        if node.HasField("privacy")
        else ""
    )
    return f"{kind}  {node.name}{digest}{privacy}"
