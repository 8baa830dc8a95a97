"""The two streams of a command. Writing to them never raises, and what a name holds controls no terminal."""

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

# after these there may be room again; after any other nobody will ever read
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.ENOMEM, errno.ENOBUFS)
UNWRITABLE = (*FULL, errno.EROFS)  # what a disk says where there is nothing wrong with the program
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
    r"""The text with control characters spelled out ('\x1b'); newlines and tabs stay, and \r around the whole.

    A progress bar begins with \r; inside a text it would write over what stands before it.
    """
    body = text.strip("\r")
    if UNSAFE.search(body) is None:
        return text
    start = text.index(body)
    return text[:start] + UNSAFE.sub(_spelled, body) + text[start + len(body) :]


def _spelled(match: re.Match[str]) -> str:
    code = ord(match[0])
    if 0xDC80 <= code <= 0xDCFF:  # a byte of a file's name that is no text
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def encoded(text: str, encoding: str) -> bytes:
    """The text's bytes; what the encoding does not have is replaced by what reads alike, or by '?'."""
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
    """A standard stream whose `write` and `flush` never raise, whoever has closed it or filled the disk behind it.

    Args:
        original: what it stands for; None where the process was started without it.
        descriptor: of the file that is written to; None writes to `original`, which is no file, as in a notebook.
    """

    def __init__(self, original: IO[str] | None, descriptor: int | None) -> None:
        self.original, self.descriptor = original, descriptor
        self.lost = ""  # why text did not reach a disk; a reader that has seen enough loses nothing
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
        text, self._pending = self._pending, ""  # first: a signal's handler may write in between
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
        """Writes what waits here and in what it stands for, so that nothing is left that fails when Python ends."""
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
        """Nobody reads any more: whatever comes goes nowhere, also what libraries write past us."""
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
    """Inside, sys.stdout and sys.stderr are `Stream`s; a second time does nothing."""
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
    """Why some of what was printed on stdout is not on the disk it was sent to; '' where it is."""
    return sys.stdout.lost if isinstance(sys.stdout, Stream) else ""


def say(text: str) -> None:
    """One line to the person who watches, clear of a progress bar."""
    if "tqdm" in sys.modules:
        from tqdm import tqdm

        tqdm.write(f"frame: {text}", file=sys.stderr)
    else:
        print(f"frame: {text}", file=sys.stderr, flush=True)


def _open_closed() -> None:
    """Standard streams that are closed lead nowhere: the next file to be opened would take their number, and what a
    library prints would stand in it."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False)  # libraries ask it whether it is a terminal


def _descriptor(original: IO[str] | None, number: int) -> int | None:
    if original is None:
        return number
    try:
        return number if original.fileno() == number else None
    except (OSError, ValueError, AttributeError):  # a stream that is no file
        return None


def _encoding(original: IO[str] | None) -> str:
    chosen = os.environ.get("PYTHONIOENCODING") or os.environ.get("PYTHONUTF8")
    # Python writes UTF-8 under the C locale, which has ASCII alone
    if not chosen and os.environ.get("LC_ALL") in ("C", "POSIX"):
        return "ascii"
    return getattr(original, "encoding", None) or "utf-8"


def _write(descriptor: int, data: bytes) -> None:
    while data:
        try:
            data = data[os.write(descriptor, data) :]
        except BlockingIOError:  # somebody who shares the pipe has made it so
            select.select([], [descriptor], [])
