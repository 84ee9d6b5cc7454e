"""Reading is stopped if it takes too much time or memory; afterwards nothing is limited."""

from __future__ import annotations

import resource
import signal
import threading

import pytest

from lablib.box.bounded_calls import TooMuch, bounded

pytestmark = pytest.mark.timeout(60)


def state():
    return (resource.getrlimit(resource.RLIMIT_DATA), signal.getsignal(signal.SIGPROF),
            signal.getitimer(signal.ITIMER_PROF))  # fmt: skip


def computes():
    while True:
        pass


def remembers():
    bytearray(256 << 20)


@pytest.mark.parametrize("block, error", [(computes, TooMuch), (remembers, MemoryError)])
def test_a_block_that_takes_too_much_ends(block, error):
    before = state()
    with pytest.raises(error), bounded(seconds=0.2, nbytes=64 << 20):
        block()
    assert state() == before


def test_a_block_that_takes_little_does_not():
    before = state()
    with bounded(seconds=0.2, nbytes=64 << 20):
        kept = bytearray(32 << 20)
    assert state() == before and len(kept) == 32 << 20


def test_elsewhere_than_in_the_main_thread_nothing_is_bounded():
    seen = []

    def work():
        with bounded(seconds=0.01, nbytes=1):
            seen.append(len(bytearray(64 << 20)))

    thread = threading.Thread(target=work)
    thread.start(), thread.join()
    assert seen == [64 << 20]
