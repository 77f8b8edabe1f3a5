"""What the stand-in received, for whoever wants to count: never a key, a prompt or audio."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Self

_KEPT: Final = 20_000


class Journal:
    """The last entries in memory, all of them in the file if there is one; a context manager that closes it."""

    def __init__(self, path: Path | None) -> None:
        self._lock = threading.Lock()
        self._entries: deque[dict[str, Any]] = deque(maxlen=_KEPT)
        self._count = 0
        self._file: IO[str] | None = path.open("a", encoding="utf-8") if path else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None

    def add(self, entry: dict[str, Any]) -> None:
        with self._lock:
            self._count += 1
            entry = {"n": self._count, "at_us": time.time_ns() // 1000, **entry}
            self._entries.append(entry)
            if self._file is not None:
                self._file.write(json.dumps(entry) + "\n")
                self._file.flush()

    def entries(self) -> list[dict[str, Any]]:
        """In the order in which they were answered."""
        with self._lock:
            return list(self._entries)
