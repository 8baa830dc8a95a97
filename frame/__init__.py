"""Representation-learning experiments: data x model x architectures x optimization, composed from YAML.

Importing `frame` imports neither torch nor Lightning, so that `--help` and tab completion answer at once.
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.2.0.dev0"

if TYPE_CHECKING:
    from frame.engine.opening import load as load
    from frame.engine.opening import open as open
    from frame.engine.pretrained import pretrained as pretrained
    from frame.runs.listing import results as results
    from frame.sharing.codes import encode as encode


def __getattr__(name: str) -> Any:
    if name in ("open", "load"):
        from frame.engine import opening

        return getattr(opening, name)
    if name == "pretrained":
        from frame.engine.pretrained import pretrained

        return pretrained
    if name == "results":
        from frame.runs.listing import results

        return results
    if name == "encode":
        from frame.sharing.codes import encode

        return encode
    raise AttributeError(f"module 'frame' has no attribute {name!r}")
