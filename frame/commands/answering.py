"""A command's answer: its exit code, and each error as one line."""

import sys
import traceback
from collections.abc import Callable

from frame.common import output
from frame.common.errors import UserError
from frame.common.interrupts import Interrupted


def answered(command: Callable[[list[str]], int], words: list[str], prints: bool = False) -> int:
    """Runs a command and returns its exit code, 0 only where the work is done; what is printed cannot stop it.

    Args:
        prints: what it prints is its work, so that output that is lost makes the code 1.
    """
    with output.guarded():
        code = _code(command, words)
        lost = output.lost() if prints and code == 0 else ""
        if lost:
            print(f"frame: what was printed could not be written: {lost}", file=sys.stderr)
        return 1 if lost else code


def _code(command: Callable[[list[str]], int], words: list[str]) -> int:
    try:
        return command(words)
    except UserError as mistake:
        print(f"frame: {' '.join(str(mistake).splitlines())}", file=sys.stderr)  # a run's names may have several
        return 2
    except KeyboardInterrupt as signalled:
        print("frame: interrupted", file=sys.stderr)
        return signalled.code if isinstance(signalled, Interrupted) else 130
    except SystemExit as ended:  # from Hydra, or a library
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except OSError as error:
        if error.errno not in output.UNWRITABLE:
            traceback.print_exc()
        else:
            where = f" ({error.filename})" if error.filename else ""
            print(f"frame: {error.strerror}{where}: make room, and give the command again", file=sys.stderr)
        return 1
    except Exception:
        traceback.print_exc()
        return 1
