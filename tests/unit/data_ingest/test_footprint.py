"""The service stays small: what only the worker needs is not loaded."""

import subprocess
import sys


def test_the_service_loads_no_library_of_the_worker() -> None:
    program = (
        "import sys, lepton_data_ingest.__main__;"
        "print(*{'numpy', 'pyarrow', 'PIL', 'tensorflow', 'pandas'} & set(sys.modules))"
    )
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert loaded.stdout.split() == []
