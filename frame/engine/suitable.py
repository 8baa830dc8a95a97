"""Which evaluations a run's model and data can serve, and who could serve the others."""

from collections.abc import Mapping, Sequence
from typing import Any

from lightning.pytorch import Callback

from frame.callbacks.evaluation import EvaluationCallback
from frame.common.errors import UserError
from frame.common.output import say
from frame.composition import config_files
from frame.composition.folders import file_of, options
from frame.composition.instantiate import instantiate, locate, named
from frame.data.base import DataSet
from frame.engine.dry_run import having
from frame.evaluation.base import Evaluation, Unsuited, methods_of
from frame.models.base import Model


def suitable(nodes: Any, model: Model, data: DataSet, *, leave_out: bool) -> tuple[Any, list[Callback]]:
    """The callbacks that run: their nodes, and what they build.

    Args:
        nodes: `callbacks` of a config.
        model, data: the run's.
        leave_out: what does not suit them is left out, and a line says so, as `evaluations=auto` asks for.

    Raises:
        UserError: an evaluation does not suit them. Names what is missing, who has it, and how to go on.
    """
    found: dict[str, Callback] = {}
    unsuited: list[str] = []
    for key, node in named(nodes):
        callback = instantiate(node, f"callbacks.{key}")
        check_kind(callback, Callback, f"callbacks.{key}", node)
        try:
            if isinstance(callback, EvaluationCallback):
                check_kind(callback.evaluator, Evaluation, f"callbacks.{key}.evaluator", node.get("evaluator") or node)
            if isinstance(callback, EvaluationCallback):
                callback.evaluator.check(model, data)
        except Unsuited as error:
            if not leave_out:
                raise UserError(f"callbacks.{key}: {error}{_who(error)}; {_remedy(key, nodes)}") from None
            unsuited.append(key)
            continue
        found[key] = callback
    if leave_out and nodes:
        measured = [key for key, callback in found.items() if isinstance(callback, EvaluationCallback)]
        left = f"; left out, since {type(model).__name__} or its data cannot serve them: {', '.join(unsuited)}"
        say(f"evaluations=auto: {', '.join(measured) or 'none'}{left if unsuited else ''}")
    kept: Any = {key: node for key, node in named(nodes) if key in found}
    if isinstance(nodes, list):
        kept = list(kept.values())
    return (kept if unsuited else nodes), list(found.values())


def check_kind(built: Any, kind: type, path: str, node: Mapping[str, Any]) -> None:
    """Raises UserError if what a node built is of another kind."""
    if not isinstance(built, kind):
        name = "torch.nn.Module" if kind.__name__ == "Module" else full(kind)
        raise UserError(f"{path}: {node['_target_']} gives a {type(built).__name__}, not a {name}")


def full(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _who(error: Unsuited) -> str:
    if error.key:
        return f". Data sets with '{error.key}': {', '.join(having(error.key)) or 'none of those in config/data'}"
    if error.capabilities:
        names = ", ".join(_models(error.capabilities)) or "none of those in config/model"
        return f". Models that have it: {names}"
    return ""


def _remedy(key: str, nodes: Any) -> str:
    if isinstance(nodes, Mapping):
        return f"remove it by '~callbacks.{key}', or write evaluations=auto to leave out what does not fit"
    return "take it out of the list, or write evaluations=auto to leave out what does not fit"


def _models(capabilities: Sequence[Sequence[type]]) -> list[str]:
    """Names in config/model whose classes have all of one set of capabilities."""
    found = []
    for name in options("model"):
        file = file_of("model", name)
        assert file is not None
        try:
            plain = config_files.values(file)
            of = locate(str((plain.get("model") or plain)["_target_"]), name)
        except (UserError, KeyError):  # a broken file, or a class that this machine cannot import
            continue
        if any(all(hasattr(of, method) for one in every for method in methods_of(one)) for every in capabilities):
            found.append(name)
    return found
