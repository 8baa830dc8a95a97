"""The two output streams of a command. Writing to them never raises, and no printed text controls a terminal."""

import errno
import io
import os
import re
import select
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any

# after these errors there may be room again; after any other there is no reader
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.ENOMEM, errno.ENOBUFS)
UNWRITABLE = (*FULL, errno.EROFS)  # errors of the disk, not of the program
# control characters, marks that turn the direction of writing, line separators, and halves of characters
UNSAFE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]|\r(?!\n)"
)
READABLE = {
    **{"±": "+-", "·": "-", "…": "...", "–": "-", "—": "-", "−": "-", "×": "x", "→": "->", "←": "<-", "≤": "<="},
    **{"≥": ">=", "≈": "~", "‘": "'", "’": "'", "“": '"', "”": '"', "•": "*", "✓": "ok", "✗": "no", "°": " degrees"},
    **{"α": "alpha", "β": "beta", "γ": "gamma", "λ": "lambda", "μ": "u", "µ": "u", "σ": "sigma", "∞": "inf"},
}


def plain(text: str) -> str:
    r"""The text with control characters spelled out ('\x1b'). Newlines and tabs stay, and so does \r at the two ends.

    A progress bar begins with \r. Inside a text, \r would overwrite the text before it.
    """
    body = text.strip("\r")
    if UNSAFE.search(body) is None:
        return text
    start = text.index(body)
    return text[:start] + UNSAFE.sub(_spelled, body) + text[start + len(body) :]


def _spelled(match: re.Match[str]) -> str:
    code = ord(match[0])
    if 0xDC80 <= code <= 0xDCFF:  # a byte of a file name that is not valid text
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def encoded(text: str, encoding: str) -> bytes:
    """The text's bytes. Characters that the encoding lacks are replaced by similar ones, or by '?'."""
    try:
        return text.encode(encoding)
    except UnicodeEncodeError:
        return "".join(_alike(character, encoding) for character in text).encode(encoding, "replace")


def _alike(character: str, encoding: str) -> str:
    try:
        character.encode(encoding)
    except UnicodeEncodeError:
        name = unicodedata.name(character, "")
        if name.startswith("BOX DRAWINGS"):
            return "+" if " AND " in name or "ARC" in name else "|" if "VERTICAL" in name else "-"
        if 0x2580 <= ord(character) <= 0x259F:
            return "#"
        without_marks = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
        return READABLE.get(character) or without_marks or "?"
    return character


class Stream(io.TextIOBase):
    """A standard stream whose `write` and `flush` never raise, even if it is closed or its disk is full.

    Args:
        original: the stream that it replaces; None if the process was started without one.
        descriptor: descriptor of the file to write to; None writes to `original`, which is not a file in a notebook.
    """

    def __init__(self, original: IO[str] | None, descriptor: int | None) -> None:
        self.original, self.descriptor = original, descriptor
        self.lost = ""  # why text did not reach a disk; empty if a reader closed the pipe
        self._encoding = _encoding(original)
        self._pending = ""

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._encoding

    @property
    def errors(self) -> str:  # type: ignore[override]
        return "replace"

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        with suppress(OSError, ValueError):
            return os.isatty(self.fileno())
        return False

    def fileno(self) -> int:
        if self.descriptor is not None:
            return self.descriptor
        if self.original is None:
            raise io.UnsupportedOperation("fileno")
        return self.original.fileno()

    def write(self, text: str) -> int:
        shown = plain(text)
        self._pending += shown
        if "\n" in shown or "\r" in shown:
            self.flush()
        return len(text)

    def flush(self) -> None:
        text, self._pending = self._pending, ""  # before the write, because a signal handler may write too
        try:
            if self.descriptor is not None:
                _write(self.descriptor, encoded(text, self._encoding))
            elif self.original is not None:
                self.original.write(encoded(text, self._encoding).decode(self._encoding))
                self.original.flush()
        except ValueError:  # it was closed
            pass
        except OSError as error:
            self._failed(error)

    def close(self) -> None:
        self.flush()

    def release(self) -> None:
        """Writes what is buffered here and in the original stream, so that nothing fails when Python ends."""
        self.flush()
        try:
            if self.original is not None:
                self.original.flush()
        except (OSError, ValueError):
            self._abandon()
            with suppress(OSError, ValueError):
                if self.original is not None:
                    self.original.flush()

    def _failed(self, error: OSError) -> None:
        if error.errno in FULL:
            self.lost = self.lost or str(error.strerror)
        else:
            self._abandon()

    def _abandon(self) -> None:
        """There is no reader: discards all further output, including that of libraries to the descriptor."""
        with suppress(OSError):
            if self.descriptor is not None:
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self.descriptor)
                os.close(nowhere)

    def __getattr__(self, name: str) -> Any:  # `buffer`, `mode` and others that a library may ask for
        if name.startswith("_") or self.original is None:
            raise AttributeError(name)
        return getattr(self.original, name)


@contextmanager
def guarded() -> Iterator[None]:
    """In this context, sys.stdout and sys.stderr are `Stream`s. Does nothing if they already are."""
    if isinstance(sys.stdout, Stream) and isinstance(sys.stderr, Stream):
        yield
        return
    _open_closed()
    before: tuple[Any, Any] = sys.stdout, sys.stderr
    ours = tuple(Stream(original, _descriptor(original, n)) for n, original in enumerate(before, 1))
    sys.stdout, sys.stderr = ours
    try:
        yield
    finally:
        for stream in ours:
            stream.release()
        sys.stdout, sys.stderr = before


def lost() -> str:
    """Why some output on stdout did not reach its disk; '' if all of it did."""
    return sys.stdout.lost if isinstance(sys.stdout, Stream) else ""


def say(text: str) -> None:
    """Prints one line on stderr without breaking a progress bar."""
    if "tqdm" in sys.modules:
        from tqdm import tqdm

        tqdm.write(f"frame: {text}", file=sys.stderr)
    else:
        print(f"frame: {text}", file=sys.stderr, flush=True)


def _open_closed() -> None:
    """Opens closed standard streams on the null device. Otherwise the next file that is opened would take their number,
    and a library's output would be written into it."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False)  # libraries ask it whether it is a terminal


def _descriptor(original: IO[str] | None, number: int) -> int | None:
    if original is None:
        return number
    try:
        return number if original.fileno() == number else None
    except (OSError, ValueError, AttributeError):  # a stream that is not a file
        return None


def _encoding(original: IO[str] | None) -> str:
    chosen = os.environ.get("PYTHONIOENCODING") or os.environ.get("PYTHONUTF8")
    # Python writes UTF-8 under the C locale, which only has ASCII
    if not chosen and os.environ.get("LC_ALL") in ("C", "POSIX"):
        return "ascii"
    return getattr(original, "encoding", None) or "utf-8"


def _write(descriptor: int, data: bytes) -> None:
    while data:
        try:
            data = data[os.write(descriptor, data) :]
        except BlockingIOError:  # another process made the shared pipe non-blocking
            select.select([], [descriptor], [])


def shortened(text: str, most: int) -> str:
    """A text of at most so many characters: the end of a longer one gives way to an ellipsis."""
    return text if len(text) <= most else f"{text[: max(1, most) - 1]}…"
