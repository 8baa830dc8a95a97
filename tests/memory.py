"""The memory of this process."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def own_memory(process: int | str = "self") -> int:
    """The bytes that a process holds by itself, without pages of files."""
    status = Path(f"/proc/{process}/status").read_text().splitlines()
    return 1024 * int(next(line for line in status if line.startswith("RssAnon")).split()[1])


@contextmanager
def watched_memory() -> Iterator[list[int]]:
    """Gives what `own_memory` finds every few milliseconds, first at the start."""
    found, over = [own_memory()], threading.Event()

    def watch() -> None:
        while not over.is_set():
            found.append(own_memory())
            time.sleep(0.003)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()
