"""Trained networks as the start of another run.

In a config, `{_target_: frame.pretrained, run: runs/..., part: model.encoder}` takes the place of a network. Before the
model is built, it is replaced by the network's own config in that run, so that the new run's folder needs no other
folder; the weights are loaded once the model is there.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from frame.architectures.base import Headless
from frame.common.errors import UserError, choices
from frame.common.output import say
from frame.composition.checks import targets
from frame.composition.settings import PRETRAINED
from frame.engine.opening import OpenRun
from frame.engine.opening import open as open_run
from frame.models.base import NoHead

NAME = "frame.pretrained"


def pretrained(
    run: str,
    part: str = "model.encoder",
    checkpoint: str = "last",
    weights: str | None = None,
    packages: Sequence[str] = (),
) -> nn.Module:
    """A trained network of a run, ready to be trained on: in training mode, with gradients.

    Args:
        run: the run's folder, or an export.
        part: 'model.encoder', or another network that the run's config names.
        checkpoint: 'last' or 'best'.
        weights: 'average' or 'raw'; None takes what the run's config says.
        packages: further packages whose classes may be built, see `frame.open`.

    Raises:
        UserError: there is no run, no checkpoint or no such network.
    """
    module: nn.Module = deepcopy(_part(_opened(run, checkpoint, weights, packages), part))
    return module.train().requires_grad_(True)


@dataclass(frozen=True)
class Source:
    """Where a network's weights come from.

    Args:
        place: for messages and the stored config: run, part, checkpoint, weights, iteration.
        state: the weights.
    """

    place: Mapping[str, Any]
    state: Mapping[str, Tensor]


def placed(plain: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Source]]:
    """A run's plain values with the config of each pretrained network in its place, and its weights by path.

    Raises:
        UserError: as `pretrained`, or the run's config does not tell how the network is built.
    """
    sources: dict[str, Source] = {}
    plain = deepcopy(plain)
    for path, node in [*targets(plain["model"], "model")]:
        if node["_target_"] == NAME:
            given = {key: value for key, value in node.items() if key != "_target_"}
            found, sources[path] = _read(**given)
            node.clear()
            node.update(found)
    if sources:
        plain[PRETRAINED] = {path: dict(source.place) for path, source in sources.items()}
    return plain, sources


def again(plain: Mapping[str, Any]) -> dict[str, Source]:
    """The weights that a stored config's networks start from, for a run that was stopped before it was saved."""
    kept = plain.get(PRETRAINED) or {}
    return {
        path: _read(**{key: value for key, value in place.items() if key != "iteration"})[1]
        for path, place in kept.items()
    }


def fill(model: nn.Module, sources: Mapping[str, Source]) -> None:
    """Loads the weights into the networks of a model; prints where they came from and which keys did not fit.

    Raises:
        UserError: none of the weights fit, or a tensor has another shape.
    """
    for path, source in sources.items():
        where = f"{path}: {source.place['part']} of {source.place['run']}"
        try:
            network = model.get_submodule(path.partition(".")[2])
        except AttributeError:
            raise UserError(f"{where} is another kind of network than {type(model).__name__} has there") from None
        network = network.encoder if isinstance(network, Headless) else network
        own = network.state_dict()
        for name in own.keys() & source.state.keys():
            if own[name].shape != source.state[name].shape:
                raise UserError(
                    f"{where}: {name} is {list(source.state[name].shape)} there and {list(own[name].shape)} here: the "
                    "networks differ"
                )
        if not own.keys() & source.state.keys():
            raise UserError(f"{where}: no weight has the name of one in {type(network).__name__}: another network")
        network.load_state_dict(dict(source.state), strict=False)
        told = [f"{where}, {source.place['weights']} weights of iteration {source.place['iteration']:.0f}"]
        told += _names("new: ", own.keys() - source.state.keys())
        told += _names("left out: ", source.state.keys() - own.keys())
        say("; ".join(told))


def _names(what: str, names: Any) -> list[str]:
    return [what + ", ".join(sorted(names))] if names else []


def _read(
    run: str,
    part: str = "model.encoder",
    checkpoint: str = "last",
    weights: str | None = None,
    packages: Sequence[str] = (),
) -> tuple[dict[str, Any], Source]:
    """The config of a run's network, and its weights."""
    opened = _opened(run, checkpoint, weights, packages)
    module = _part(opened, part)
    node: Any = opened.folder.filled("model")
    for name in part.split(".")[1:]:
        node = node.get(name) if isinstance(node, dict) else None
    if not isinstance(node, dict) or "_target_" not in node:
        known = [path for path, _ in targets(opened.folder.filled("model"), "model")][1:]
        raise UserError(f"frame.pretrained: {choices(part, known, kind=f'network in the config of {run}')}")
    state = {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}
    if isinstance(getattr(module, "head", None), NoHead):  # the run's method removed it
        node = {"_target_": f"{Headless.__module__}.{Headless.__qualname__}", "encoder": deepcopy(node)}
    place = {"run": run, "part": part, "checkpoint": opened.checkpoint, "weights": opened.kept, "packages": [*packages]}
    return node, Source({**place, "iteration": opened.state["counters"]["iterations"]}, state)


def _opened(run: str, checkpoint: str, weights: str | None, packages: Sequence[str]) -> OpenRun:
    return open_run(run, packages=packages, checkpoint=checkpoint, weights=weights)


def _part(run: OpenRun, part: str) -> nn.Module:
    root, _, inner = part.partition(".")
    names = [f"model.{name}" for name, _ in run.model.named_modules() if name]
    if root != "model" or part not in names:
        raise UserError(f"frame.pretrained: {choices(part, names, kind=f'network of {run.folder.path}')}")
    return run.model.get_submodule(inner)
