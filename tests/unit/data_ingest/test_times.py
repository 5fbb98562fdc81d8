"""Times as people write them, and the distance of one row to the next."""

from datetime import datetime, timedelta

import numpy as np
import pytest

from lepton_data_ingest.times import Clock, find_step


@pytest.mark.parametrize(
    ("time_format", "texts", "step"),
    [
        ("", ["2010/01/01 00:00", "2010/01/01 01:00", "2010/01/01 02:00"], "1 hour"),
        ("", ["2024-05-31", "2024-06-01", "2024-06-02"], "1 day"),
        ("", ["19580329", "19580405", "19580412"], "7 days"),
        ("", ["2024-05-31T10:00:00Z", "2024-05-31T12:15:00+02:00", "2024-05-31T10:30:00Z"], "15 minutes"),
        ("", ["2024-01-01", "2024-02-01", "2024-03-01"], "1 month"),
        ("", ["2024-01-31", "2024-02-29", "2024-03-31"], "1 month"),
        ("", ["2023-03-31", "2023-06-30", "2023-09-30"], "3 months"),
        ("", ["2001-01-01", "2002-01-01", "2004-01-01", "2005-01-01"], "12 months"),
        ("%b %d %Y", ["Jan 1 2000", "Feb 1 2000", "Mar 1 2000"], "1 month"),
        ("", ["1700", "1701", "1702"], "1"),
        ("", ["0.5", "0.75", "1"], "0.25"),
        ("", ["2024-01-01 00:00:00", "2024-01-01 00:00:00.5", "2024-01-01 00:00:01"], "0.5 seconds"),
    ],
)
def test_steps_are_told_from_the_rows(time_format: str, texts: list[str], step: str) -> None:
    clock = Clock(time_format, first=texts[0])
    ticks, good = clock.read(texts)
    assert good.all()
    same = np.ones(len(texts) - 1, np.bool_)
    assert find_step(ticks, same, clock=clock).name(clock) == step


def test_months_of_any_length_are_one_step_apart() -> None:
    days = [f"{2020 + month // 12}-{month % 12 + 1:02}-15 06:00" for month in range(30)]
    clock = Clock("", first=days[0])
    ticks, _ = clock.read(days)
    step = find_step(ticks, np.ones(29, np.bool_), clock=clock)
    assert (np.diff(step.positions(ticks)) == 1).all()


@pytest.mark.parametrize("text", ["", "soon", "2024-13-01", "nan", "inf", "1e300", "2024-02-30"])
@pytest.mark.parametrize("first", ["2024-01-01", "1"])
def test_what_is_no_time_is_found(first: str, text: str) -> None:
    clock = Clock("", first=first)
    assert clock.read([first, text])[1].tolist() == [True, False]


def test_times_are_written_as_they_are_read() -> None:
    clock = Clock("", first="2024-05-31")
    start = datetime(1900, 1, 1)
    texts = [(start + timedelta(hours=1001 * place)).isoformat(" ") for place in range(500)]
    ticks, good = clock.read(texts)
    assert good.all()
    assert [clock.write(int(tick)) for tick in ticks] == [text.removesuffix(" 00:00:00") for text in texts]
    assert Clock("", first="1700").write(1_700_500_000) == "1700.5"
