"""Stopping a run from outside without losing it."""

import signal
import threading
import time
from typing import Any


class Signals:
    """While this is open, a first SIGINT or SIGTERM is only noted, in `caught`; a second acts as usual.

    Ctrl-Z pauses as usual, and `clock` stands still meanwhile.
    """

    def __init__(self) -> None:
        self.caught, self.start, self._before = 0, time.perf_counter(), {}

    def __enter__(self) -> "Signals":
        if threading.current_thread() is threading.main_thread():  # elsewhere Python forbids it
            self._before = {s: signal.signal(s, self._note) for s in (signal.SIGINT, signal.SIGTERM)}
            if hasattr(signal, "SIGTSTP"):  # not on Windows
                self._before[signal.SIGTSTP] = signal.signal(signal.SIGTSTP, self._pause)
        return self

    def clock(self) -> float:
        """Seconds since `start`, without those that the process was paused for."""
        return time.perf_counter() - self.start

    def _pause(self, _number: int, _frame: Any) -> None:
        began = time.perf_counter()
        signal.raise_signal(signal.SIGSTOP)  # returns when SIGCONT arrives
        self.start += time.perf_counter() - began

    def _note(self, number: int, _frame: Any) -> None:
        self.caught = number
        self.__exit__()

    def __exit__(self, *_: Any) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
