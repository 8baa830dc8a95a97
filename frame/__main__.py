"""What the command `frame` and `python -m frame` start; Ctrl-C while the packages are read is one line, too."""

import sys
from collections.abc import Sequence

from frame.output import guarded


def main(arguments: Sequence[str] | None = None) -> int:
    with guarded():
        try:
            from frame.cli import main as run
        except KeyboardInterrupt:
            print("frame: interrupted", file=sys.stderr)
            return 130
        return run(arguments)


if __name__ == "__main__":
    sys.exit(main())
