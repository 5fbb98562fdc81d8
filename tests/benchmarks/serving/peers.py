"""Other servers of the same protocol, each in an environment of its own, `.venv-peers-NAME`.

All run models on ONNX Runtime with one thread, by the programs in `runtimes/`. Their settings are those under
which they are quickest on one core:

- tritonserver: its Python backend, one instance of a model, dynamic batching without a delay; gRPC alone.
- MLServer: one process, for on one core its workers only cost; adaptive batching, which waits for 5 ms at
  most, for that costs the least CPU time where there are 16 in flight; no metrics, no debugging.
- KServe: its SDK, which batches nothing; no log line per request.
"""

import json
import os
import shutil
import sys
import sysconfig
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TypeAlias

import psutil

from serving.models import MODELS, Model
from serving.processes import Server, free_port, running, wait_for_models

ROOT = Path(__file__).resolve().parents[3]
RUNTIMES = Path(__file__).resolve().parent / "runtimes"
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
BATCH_SECONDS = 0.005

Files: TypeAlias = Mapping[str, Path]
"""The ONNX file of every model, by its name."""
Run: TypeAlias = Callable[[Path, Files], AbstractContextManager[Server]]
"""Runs a server in a folder that it makes, and waits for it to load the models."""


@contextmanager
def run_triton(folder: Path, files: Files) -> Iterator[Server]:
    """A tritonserver with its Python backend."""
    environment = _environment("triton")
    packages = environment / f"lib/python{PYTHON}/site-packages"
    triton = packages / "pytriton/tritonserver"
    backend = folder / "backends/python"
    shutil.copytree(triton / "backends/python", backend)
    shutil.copy(triton / f"python_backend_stubs/{PYTHON}/triton_python_backend_stub", backend)
    for name, file in files.items():
        version = folder / "models" / name / "1"
        version.mkdir(parents=True)
        (version / "model.onnx").symlink_to(file)
        (version / "model.py").symlink_to(RUNTIMES / "triton_model.py")
        (version.parent / "config.pbtxt").write_text(_triton_config(MODELS[name]))
    port = free_port()
    command = [
        *(str(triton / "bin/tritonserver"), "--model-repository=models", "--backend-directory=backends"),
        *("--allow-http=false", "--allow-metrics=false", "--grpc-address=127.0.0.1", f"--grpc-port={port}"),
        # On a busy core, models that load at the same time may fail to lock what they share.
        "--model-load-thread-count=1",
    ]
    settings = {
        # Its Python is embedded, and takes its packages from where it finds an interpreter.
        "PATH": f"{environment / 'bin'}:{os.environ['PATH']}",
        "LD_LIBRARY_PATH": f"{packages / 'nvidia_pytriton.libs'}:{sysconfig.get_config_var('LIBDIR')}",
    }
    with _serving("tritonserver", command, folder, settings=settings, port=port, files=files) as server:
        yield server


def _triton_config(model: Model) -> str:
    shape = ", ".join(map(str, model.shape))
    return f"""
        name: "{model.name}"
        backend: "python"
        max_batch_size: {model.most_batched}
        input [{{name: "x" data_type: TYPE_FP32 dims: [{shape}]}}]
        output [{{name: "y" data_type: TYPE_FP32 dims: [{model.classes}]}}]
        instance_group [{{kind: KIND_CPU count: 1}}]
        dynamic_batching {{}}
    """


@contextmanager
def run_mlserver(folder: Path, files: Files) -> Iterator[Server]:
    """An MLServer with a runtime of ours."""
    environment, port = _environment("mlserver"), free_port()
    for name, file in files.items():
        settings = {
            "name": name,
            "implementation": "mlserver_runtime.Runtime",
            "max_batch_size": MODELS[name].most_batched,
            "max_batch_time": BATCH_SECONDS,
            "parameters": {"uri": str(file), "version": "1"},
        }
        place = folder / "models" / name
        place.mkdir(parents=True)
        (place / "model-settings.json").write_text(json.dumps(settings))
    of_server = {
        "debug": False,
        "host": "127.0.0.1",
        "grpc_port": port,
        "http_port": free_port(),
        "metrics_endpoint": None,
        "parallel_workers": 0,
        "grpc_max_message_length": 64 << 20,
    }
    (folder / "settings.json").write_text(json.dumps(of_server))
    command = [str(environment / "bin/mlserver"), "start", str(folder)]
    path = {"PYTHONPATH": str(RUNTIMES)}
    with _serving("MLServer", command, folder, settings=path, port=port, files=files) as server:
        yield server


@contextmanager
def run_kserve(folder: Path, files: Files) -> Iterator[Server]:
    """A server on the KServe SDK."""
    python, port = _environment("kserve") / "bin/python", free_port()
    folder.mkdir()
    models = (f"{name}={file}" for name, file in files.items())
    command = [str(python), str(RUNTIMES / "kserve_server.py"), str(port), str(free_port()), *models]
    with _serving("KServe", command, folder, settings={}, port=port, files=files) as server:
        yield server


PEERS: Mapping[str, Run] = {"triton": run_triton, "mlserver": run_mlserver, "kserve": run_kserve}


def is_installed(peer: str) -> bool:
    """Whether `make bench-inference` could install it."""
    return (_environment(peer) / "stamp").exists()


def _environment(peer: str) -> Path:
    return ROOT / f".venv-peers-{peer}"


@contextmanager
def _serving(
    name: str, command: list[str], folder: Path, *, settings: Mapping[str, str], port: int, files: Files
) -> Iterator[Server]:
    with running(command, folder, settings=settings) as process:
        server = Server(name, f"127.0.0.1:{port}", psutil.Process(process.pid))
        wait_for_models(server, list(files), process, folder)
        yield server
