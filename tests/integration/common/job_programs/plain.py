"""A process that knows nothing of jobs: it does what the variable DO says."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path


def main() -> None:
    match os.environ["DO"]:
        case "exit":
            print("the last words", flush=True)  # noqa: T201
            sys.exit(int(os.environ["CODE"]))
        case "raise":
            raise RuntimeError("the last words")
        case "ignore SIGTERM":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        case "have a child":
            subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        case "fail beside a peer" if os.environ["LEPTON_WORKER_INDEX"] == "1":
            sys.exit(3)
    Path(os.environ["LEPTON_RUN_DIRECTORY"], "begun").write_text(os.environ["LEPTON_PEERS"])
    time.sleep(60)


if __name__ == "__main__":
    main()
