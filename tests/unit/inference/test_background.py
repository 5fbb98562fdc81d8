"""Work that gives way to others."""

import os
import sys
import threading

import pytest

from lepton_inference.background import Background


def niceness() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


@pytest.mark.skipif(sys.platform != "linux", reason="niceness is not a thread's own")
def test_its_thread_gives_way_and_no_other() -> None:
    before = niceness()
    assert Background().run(niceness) == 10
    assert niceness() == before


def test_what_it_gives_or_raises_is_what_the_work_does() -> None:
    background = Background()
    assert background.run(lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        background.run(lambda: 1 // 0)
    assert background.run(lambda: 8) == 8
