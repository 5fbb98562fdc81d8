"""`make demo` as a user runs it, and the figures that it must reach on the handwritten digits."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.demo, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the report of a whole demo."""
    folder = tmp_path_factory.mktemp("demo")
    lepton = Path(sys.executable).with_name("lepton")
    done = subprocess.run([lepton, "demo", "--report", folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def test_the_figures_of_the_demo_hold(report: Path) -> None:
    figures = json.loads((report / "report.json").read_text())
    assert figures["accuracy"] >= 0.97
    assert figures["accuracy_compressed"] >= figures["accuracy"] - 0.005
    assert figures["accuracy_served"] == pytest.approx(figures["accuracy_compressed"], abs=0.003)
    assert figures["bytes_compressed"] < figures["bytes"]
    assert figures["max_difference_fp32"] <= 1e-4
    assert figures["agent_mean_reward"] >= 475
    assert figures["requests_per_second"] > 0
    assert figures["seconds"] < 300


def test_the_page_holds_its_pictures(report: Path) -> None:
    page = (report / "report.html").read_text()
    shown = re.findall(r"<img alt='([^']+)' src='data:image/png;base64,[^']{1000,}'>", page)
    assert shown == [
        "learning curves",
        "confusion of the trained model",
        "calibration of the trained model",
        "candidates",
        "predictions",
        "rewards",
    ]
    assert "src='http" not in page
