"""Runs a command, prints each error in one line, and returns the exit code."""

import sys
from collections.abc import Callable

from frame.common import faults, output
from frame.common.errors import UserError
from frame.common.interrupts import Interrupted


def answered(command: Callable[[list[str]], int], words: list[str], prints: bool = False) -> int:
    """Runs a command and returns its exit code, 0 only if the work is done. Lost output does not stop it.

    `debug=trace` among the words shows the traceback of an error, in any command.

    Args:
        prints: whether its output is its work; if output is lost, the code is 1.
    """
    faults.tracing = any(word.lstrip("+") == faults.WORD for word in words)
    with output.guarded():
        code = _code(command, [word for word in words if word.lstrip("+") != faults.WORD])
        lost = output.lost() if prints and code == 0 else ""
        if lost:
            print(f"frame: the output could not be written: {lost}", file=sys.stderr)
        return 1 if lost else code


def _code(command: Callable[[list[str]], int], words: list[str]) -> int:
    try:
        return command(words)
    except UserError as error:
        faults.show(error)
        return 2
    except KeyboardInterrupt as signalled:
        print("frame: interrupted", file=sys.stderr)
        return signalled.code if isinstance(signalled, Interrupted) else 130
    except SystemExit as ended:  # from Hydra, or a library
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except OSError as error:
        if error.errno not in output.UNWRITABLE:
            faults.show(error)
        else:
            where = f" ({error.filename})" if error.filename else ""
            print(f"frame: {error.strerror}{where}: make room, then run the command again", file=sys.stderr)
        return 1
    except Exception as error:
        faults.show(error)
        return 1
