"""Entry point of the worker: `python -m lepton_data_ingest.worker`."""

from collections.abc import Mapping
from typing import Any

from lepton_common.errors import Cancelled
from lepton_common.jobs.worker import Worker, run_worker
from lepton_data_ingest.build import build
from lepton_data_ingest.order import Order


def main(worker: Worker) -> Mapping[str, Any]:
    """Build the version that the job's spec describes.

    Raises:
        Cancelled: the worker was asked to stop.
    """

    def progress(phase: str, done: int, total: int) -> None:
        if worker.stop_requested:
            raise Cancelled("the build was stopped")
        worker.progress(phase, done, total, "file" if phase == "fetching" else "record")

    order = Order.from_json(worker.spec)
    return build(order, worker.objects, worker.directory, progress=progress).to_json()


if __name__ == "__main__":
    run_worker(main)
