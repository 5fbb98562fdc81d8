"""What a local worker process runs before the worker's own module.

    python -m lepton_common.jobs.child <handle> <module>

It writes its process id to the handle that it was started with, an open and locked file, then
becomes the module, and writes the exit code when that returns. A process that is killed writes
none. See `process_file` for who reads it.
"""

import os
import runpy
import sys


def main() -> None:
    """Note down the process, run the module as `__main__`, note down how it ended."""
    handle, module = int(sys.argv[1]), sys.argv[2]
    os.set_inheritable(handle, False)
    os.write(handle, f"{os.getpid()}\n".encode())
    sys.argv = [module]
    code = 1
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        raise
    finally:
        os.write(handle, f"{code}\n".encode())


if __name__ == "__main__":
    main()
