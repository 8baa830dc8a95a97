"""What the command `frame` and `python -m frame` start; Ctrl-C while the packages are read is one line, too."""

import os
import sys
from collections.abc import Sequence

from frame.common.output import guarded


def _leave_out_the_working_folder() -> None:
    """`python -m frame` puts it in front of all others; it may be a stranger's, with a numpy.py of its own."""
    home = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    if sys.path and sys.path[0] in ("", os.getcwd()) and os.getcwd() != home:
        del sys.path[0]


def main(arguments: Sequence[str] | None = None) -> int:
    with guarded():
        try:
            from frame.commands.main import main as run
        except KeyboardInterrupt:
            print("frame: interrupted", file=sys.stderr)
            return 130
        return run(arguments)


if __name__ == "__main__":
    _leave_out_the_working_folder()
    sys.exit(main())
