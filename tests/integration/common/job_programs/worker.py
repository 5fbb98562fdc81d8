"""A worker that does what its job's label `do` says, and notes down when it is not the only one."""

import fcntl
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lepton_common.errors import Cancelled, InvalidModel
from lepton_common.jobs.worker import Worker, run_worker


def main(worker: Worker) -> Mapping[str, Any]:
    folder = Path(worker.spec["folder"])
    name = f"{worker.spec['job'].replace('/', '.')}.{worker.index}"
    with (folder / f"alone-{name}").open("w") as alone:
        try:
            fcntl.flock(alone, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            (folder / f"overlap-{name}-{worker.attempt}").touch()
        with (folder / f"runs-{name}").open("a") as runs:
            runs.write(f"{worker.attempt} {os.getpid()}\n")
        return work(worker, worker.spec["labels"])


def work(worker: Worker, labels: Mapping[str, str]) -> Mapping[str, Any]:
    do = labels["do"]
    if do == "fail":
        raise InvalidModel("a dense layer after a dense layer")
    if do == "die" or (do == "die once" and worker.attempt == 1):
        print("the last words", file=sys.stderr, flush=True)  # noqa: T201
        os.kill(os.getpid(), signal.SIGKILL)
    if do == "ignore SIGTERM":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if do == "end late":
        threading.Thread(target=time.sleep, args=(60,)).start()
    # Without a number of steps the work goes on until it is stopped.
    steps = int(labels.get("steps", "1" if do in ("succeed", "die once", "end late") else "1000000"))
    for step in range(steps):
        if worker.stop_requested:
            raise Cancelled("stopped on request")
        worker.progress("training", step + 1, steps, "step")
        worker.metric("loss", step, 1 / (step + 1))
        time.sleep(0.02)
    return {"version": f"models/digits/versions/{worker.attempt}"}


if __name__ == "__main__":
    run_worker(main)
