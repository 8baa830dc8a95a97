"""Names of logged numbers. Each is a column, a folder of pictures, and a key of comparisons."""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

from frame.common.errors import UserError
from frame.runs.metrics import COUNTERS

LISTED: tuple[str, ...] = (
    "run",
    "experiment",
    "variant",
    "model",
    "data",
    "optimization",
    "state",
    "seed",
    "parameters",
)
LISTED += ("encoder_parameters", "flops_per_sample", "flops")  # facts of every run in `frame list` and `compare`
WINDOWS = ("_step", "_runtime", "_timestamp", "_wandb")  # W&B's own
LONGEST = 200  # bytes
PART = re.compile(r"[\w(%][\w .+()%:&-]*(?<! )")


def alike(name: str) -> str:
    """A form that is equal for names that some systems do not distinguish: 'A/B', 'a_b' and 'A b'."""
    return re.sub(r"[^\w.+-]", "_", unicodedata.normalize("NFC", name).casefold())


def check_measurement(name: object, where: str) -> None:
    """Raises UserError if an evaluation cannot have this name."""
    check_column(name, where)
    text = unicodedata.normalize("NFC", str(name))
    if not all(PART.fullmatch(part) for part in text.split("/")):
        raise UserError(
            f"{where}: {text!r} is not a valid name: use letters, digits, spaces and . + - ( ) % : & between slashes, "
            "and no dot or space at the start"
        )
    if alike(text) in map(alike, LISTED) or text.startswith("params."):
        raise UserError(f"{where}: '{text}' is the name of another fact of a run in `frame list`: choose another name")


def check_column(name: object, where: str) -> None:
    """Raises UserError if a column of metrics.csv cannot have this name."""
    if not isinstance(name, str) or not name.strip() or not name.isprintable():
        raise UserError(f"{where}: {name!r} is not a valid name: use printable characters, in one line")
    if len(name.encode(errors="replace")) > LONGEST:
        raise UserError(f"{where}: '{name[:40]}...' has {len(name)} letters: a name takes at most {LONGEST} bytes")
    if alike(name) in map(alike, (*COUNTERS, *WINDOWS)):
        raise UserError(f"{where}: '{name}' is the name of a column that each run has: choose another")


class Taken:
    """Names and their owners, so that no two are logged as one."""

    def __init__(self) -> None:
        self._owners: dict[str, tuple[str, str]] = {}

    def add(self, names: Iterable[str], owner: str) -> None:
        """Takes names for `owner`.

        Raises:
            UserError: another owner has one of them, or a name that a file system does not distinguish from it.
        """
        for name in names:
            other, whose = self._owners.setdefault(alike(name), (name, owner))
            if whose != owner:
                same = f"'{name}'" if name == other else f"'{name}' and '{other}', which are one on some systems"
                raise UserError(f"{owner} and {whose} both log {same}: give one of them another name")


def check_config(config: Mapping[str, Any]) -> None:
    """Raises UserError if names of evaluations are unusable or equal, or if two loggers write to one place."""
    taken = Taken()
    for key, node in _nodes(config.get("callbacks")):
        if "evaluator" in node:
            check_measurement(node.get("name"), f"callbacks.{key}.name")
            taken.add([str(node["name"])], f"callbacks.{key}")
    windows: dict[str, str] = {}
    for key, node in _nodes(config.get("logging")):
        target = str(node.get("_target_"))
        if target.startswith("frame.loggers.") and target in windows:
            raise UserError(f"logging.{windows[target]} and logging.{key} would write to one place: remove one of them")
        windows[target] = key


def _nodes(nodes: Any) -> list[tuple[str, Mapping[str, Any]]]:
    items = nodes.items() if isinstance(nodes, Mapping) else enumerate(nodes or ())
    return [(str(key), node) for key, node in items if isinstance(node, Mapping)]


def apart(name: str, taken: Iterable[str]) -> str:
    """The name, or a similar one if it is taken."""
    while name in taken:
        name = f"loss/{name}"
    return name
