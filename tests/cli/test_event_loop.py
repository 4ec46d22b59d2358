"""Ctrl-C reaches a command's event loop whenever it comes."""

import asyncio
import signal
import sys
import threading

import pytest

from perdure.cli.event_loop import run_loop


def test_a_signal_that_interrupts_no_wait_ends_it_all_the_same() -> None:
    """As one that comes just before the wait begins: here another thread takes it, so that the wait goes on."""
    main_thread = threading.get_ident()

    def press() -> None:
        while sys._current_frames()[main_thread].f_code.co_name != "select":
            pass
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)

    async def wait() -> None:
        pressing.start()
        await asyncio.get_running_loop().create_future()

    pressing = threading.Thread(target=press)
    before = signal.set_wakeup_fd(-1)
    try:
        with pytest.raises(KeyboardInterrupt):
            run_loop(wait())
        assert signal.set_wakeup_fd(-1) == -1
    finally:
        signal.set_wakeup_fd(before)
        pressing.join()


def test_its_answer_and_its_error_are_the_callers() -> None:
    async def answer(value: int) -> int:
        if value < 0:
            raise ValueError(value)
        return value

    assert run_loop(answer(3)) == 3
    with pytest.raises(ValueError, match="-1"):
        run_loop(answer(-1))
