"""Representation-learning experiments: data x model x architectures x optimization, composed from YAML.

Importing `frame` imports neither torch nor Lightning, so that `--help` and tab completion answer at once.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0.dev0"

if TYPE_CHECKING:
    from frame.analysis.calls import compare as compare
    from frame.analysis.calls import plot as plot
    from frame.common.errors import UserError as UserError
    from frame.engine.calls import evaluate as evaluate
    from frame.engine.calls import train as train
    from frame.engine.opening import load as load
    from frame.engine.opening import open as open
    from frame.engine.pretrained import pretrained as pretrained
    from frame.runs.listing import results as results
    from frame.sharing.codes import encode as encode
    from frame.sweeps.calls import sweep as sweep

HOMES = {  # the modules of what `frame.` offers, which are imported when it is asked for
    "UserError": "frame.common.errors",
    "compare": "frame.analysis.calls",
    "encode": "frame.sharing.codes",
    "evaluate": "frame.engine.calls",
    "load": "frame.engine.opening",
    "open": "frame.engine.opening",
    "plot": "frame.analysis.calls",
    "pretrained": "frame.engine.pretrained",
    "results": "frame.runs.listing",
    "sweep": "frame.sweeps.calls",
    "train": "frame.engine.calls",
}


def __getattr__(name: str) -> Any:
    if name == "sklearn":
        return import_module("frame.sklearn")
    if name in HOMES:
        return getattr(import_module(HOMES[name]), name)
    raise AttributeError(f"module 'frame' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*HOMES, "__version__", "sklearn"])
