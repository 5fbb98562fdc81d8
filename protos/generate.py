"""Code and type stubs from the contracts.

    python protos/generate.py generate            write libs/contracts/src anew
    python protos/generate.py check               say which of its files are not what the contracts give
    python protos/generate.py image OUT [ROOT]    write the contracts as one descriptor set, for buf

The folder of the contracts is the import root of the generated code, so nothing is rewritten after protoc.
The compiler, its plugins and the files of `google/` that the contracts import come from the environment.
"""

import argparse
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

PROTOS = Path(__file__).resolve().parent
OUTPUT = PROTOS.parent / "libs/contracts/src"


def compile_protos(root: Path, options: Sequence[str]) -> None:
    """Run protoc over every contract below a folder; ends the program when protoc complains."""
    includes = [root, Path(str(files("grpc_tools") / "_proto")), Path(sysconfig.get_path("purelib"))]
    sources = sorted(str(path.relative_to(root)) for path in root.rglob("*.proto"))
    arguments = ["protoc", *(f"--proto_path={folder}" for folder in includes), *options, *sources]
    if protoc.main(arguments) != 0:
        sys.exit(1)


def generate(output: Path) -> None:
    """Write the code of all contracts below an empty folder."""
    compile_protos(
        PROTOS,
        [
            f"--python_out={output}",
            f"--grpc_python_out={output}",
            f"--mypy_out=quiet:{output}",
            f"--mypy_grpc_out=quiet:{output}",
        ],
    )
    for path in output.rglob("*_pb2_grpc.py"):
        # Contracts without a service get such a file too, with nothing in it.
        if "\nclass " not in path.read_text():
            path.unlink()
            path.with_suffix(".pyi").unlink()
    for package in output.iterdir():
        (package / "py.typed").touch()


def read_tree(folder: Path) -> dict[str, bytes]:
    """The generated files below a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix in {".py", ".pyi", ".typed"}
    }


def stale(folder: Path) -> list[str]:
    """The committed files that differ from what the contracts give, are missing or are left over."""
    generate(folder)
    expected, committed = read_tree(folder), read_tree(OUTPUT)
    names = sorted(expected.keys() | committed.keys())
    return [name for name in names if expected.get(name) != committed.get(name)]


def replace(folder: Path) -> None:
    """Generate, then put the result in the place of the committed code."""
    generate(folder)
    for name in read_tree(OUTPUT).keys() - read_tree(folder).keys():
        (OUTPUT / name).unlink()
    shutil.copytree(folder, OUTPUT, dirs_exist_ok=True)


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Generate code from the contracts.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("generate")
    commands.add_parser("check")
    image = commands.add_parser("image")
    image.add_argument("out", type=Path)
    image.add_argument("root", type=Path, nargs="?", default=PROTOS)
    arguments = parser.parse_args()
    if arguments.command == "image":
        options = ["--include_imports", "--include_source_info", f"--descriptor_set_out={arguments.out}"]
        compile_protos(arguments.root.resolve(), options)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        if arguments.command == "generate":
            replace(Path(folder))
            return 0
        names = stale(Path(folder))
    for name in names:
        print(f"{name} is not what the contracts give: run `make protos`", file=sys.stderr)
    return 1 if names else 0


if __name__ == "__main__":
    sys.exit(main())
