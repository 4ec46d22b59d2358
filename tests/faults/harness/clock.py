"""A wall clock for one process that can be set at any moment (libfaketime); its other clocks go on as they are."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

HOUR_US = 3_600_000_000


class WallClock:
    """`environment` is for the process; what it starts has the same clock."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._shifts: set[int] = set()
        self.set(0)
        self.environment = {
            "LD_PRELOAD": str(_library()),
            "FAKETIME_TIMESTAMP_FILE": str(file),
            # To read the file at every look at the clock would cost more than the work that is timed.
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_DONT_RESET": "1",
        }

    def set(self, hours: int) -> None:
        """So far away from the true time, within a second."""
        self._shifts.add(hours)
        # In one piece, whenever it is read.
        new = self._file.with_suffix(".new")
        new.write_text(f"{hours:+d}h\n")
        new.replace(self._file)

    def meant(self, told: int) -> list[int]:
        """The true times that it may have told so (microseconds), one for each way in which it was set."""
        return [told - hours * HOUR_US for hours in sorted(self._shifts)]


def _library() -> Path:
    found = find_spec("libfaketime")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent / "vendor/libfaketime/src/libfaketime.so.1"
