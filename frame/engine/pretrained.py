"""Trained networks as the start of another run.

In a config, `{_target_: frame.pretrained, run: runs/..., part: model.encoder}` takes the place of a network, or
`{_target_: frame.pretrained, file: resnet.safetensors, network: {_target_: ...}}`. Before the model is built, it is
replaced by the network's own config, so that the new run's folder needs no other folder and no other file. The weights
are loaded as soon as the network is built, before a model takes a copy of it.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from frame.architectures.base import Headless
from frame.common.errors import UserError, choices
from frame.common.output import say
from frame.common.weights import Weights, load_weights, read_weights
from frame.composition.checks import targets
from frame.composition.instantiate import instantiate, locate
from frame.composition.settings import PRETRAINED
from frame.engine.opening import OpenRun
from frame.engine.opening import open as open_run
from frame.models.base import NoHead
from frame.runs.hub import is_hub_name

NAME = "frame.pretrained"


def pretrained(
    run: str | None = None,
    part: str = "model.encoder",
    checkpoint: str = "last",
    weights: str | None = None,
    packages: Sequence[str] = (),
    *,
    file: str | Path | None = None,
    network: nn.Module | Mapping[str, Any] | None = None,
    at: str | None = None,
    prefix: str = "",
    names: Mapping[str, str] | None = None,
    allow: Sequence[str] = (),
) -> nn.Module:
    """A trained network, of a run or with weights from elsewhere, ready to be trained on: in training mode.

    Args:
        run: the run's folder, a folder with one run in it, or an export.
        part: 'model.encoder', or another network that the run's config names.
        checkpoint: 'last' or 'best'.
        weights: 'average' or 'raw'; None takes what the run's config says.
        packages: further packages whose classes may be built, see `frame.open`.
        file: weights from elsewhere instead of a run: .safetensors, or .pt, .pth, .bin, .ckpt of tensors.
        network: the network that takes them: a module, or plain values with a `_target_`.
        at, prefix, names: which tensors of the file are taken and how their names are mapped, see
            `frame.common.weights.read_weights`.
        allow: regular expressions of how names begin that need not fit, see `frame.common.weights.load_weights`.

    Raises:
        UserError: there is no run, no checkpoint, no such network or file, or the weights do not fit.

    Examples:
        >>> encoder = frame.pretrained("runs/digits_SimCLR/2026-11-28_10-00-00")  # doctest: +SKIP
        >>> backbone = frame.pretrained(  # doctest: +SKIP
        ...     file="moco.pt", network=torchvision.models.resnet18(), prefix="module.encoder_q.", allow=["fc"]
        ... )
    """
    given: dict[str, Any] = {"run": run, "part": part, "checkpoint": checkpoint, "weights": weights}
    given |= {"file": file, "network": network, "at": at, "prefix": prefix, "names": names, "allow": allow}
    if _of_file(given):
        module = network if isinstance(network, nn.Module) else instantiate(dict(network or {}), "network")
        if not isinstance(module, nn.Module):
            raise UserError(f"{NAME}: network must be a torch.nn.Module, and is a {type(module).__name__}")
        fill(module, _of(given), "network")
        return module.train().requires_grad_(True)
    assert run is not None
    module = deepcopy(_part(_opened(run, checkpoint, weights, packages), part))
    return module.train().requires_grad_(True)


@dataclass(frozen=True)
class Source:
    """Where a network's weights come from.

    Args:
        place: for messages and the stored config: run, part, checkpoint, weights, iteration; or file, sha256, and how
            names are mapped.
        state: the weights.
    """

    place: Mapping[str, Any]
    state: Weights


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
            found, sources[path] = _read(given, path)
            node.clear()
            node.update(found)
    if sources:
        plain[PRETRAINED] = {path: dict(source.place) for path, source in sources.items()}
    return plain, sources


def again(plain: Mapping[str, Any]) -> dict[str, Source]:
    """The weights that a stored config's networks start from, for a run that was stopped before it was saved.

    Raises:
        UserError: they are not there any more, or a file is another one than before.
    """
    found: dict[str, Source] = {}
    for path, place in (plain.get(PRETRAINED) or {}).items():
        given = {key: value for key, value in place.items() if key not in ("iteration", "sha256")}
        found[path] = _of(given) if "file" in place else _read(given, path)[1]
        if found[path].place.get("sha256") != place.get("sha256"):
            raise UserError(f"{place['file']} is not the file that {path} of this run started with")
    return found


def built(node: Mapping[str, Any], sources: Mapping[str, Source]) -> Any:
    """The model of a config. Each network at one of the paths has its weights as soon as it is built.

    So a model that copies the network in its constructor, such as for a teacher, copies its weights, too.

    Raises:
        UserError: a network at a path is no module, the model does not build it, or the weights do not fit.
    """
    filled: set[str] = set()

    def found(name: str, path: str) -> Any:
        target = locate(name, path)
        return with_weights(target, path) if path in sources else target

    def with_weights(target: Callable[..., Any], path: str) -> Callable[..., nn.Module]:
        def make(*positional: Any, **arguments: Any) -> nn.Module:
            network = target(*positional, **arguments)
            if not isinstance(network, nn.Module):
                raise UserError(f"{path} must be a torch.nn.Module to take weights, and is a {type(network).__name__}")
            fill(network, sources[path], path)
            filled.add(path)
            return network

        return make

    model = instantiate(dict(node), "model", found)
    for path in sources.keys() - filled:
        came = sources[path].place
        what = came.get("file") or f"{came['part']} of {came['run']}"
        raise UserError(f"{path}: {what} is another kind of network than {type(model).__name__} has there")
    return model


def fill(network: nn.Module, source: Source, path: str) -> None:
    """Loads the weights into a network; prints where they came from and which names did not fit.

    Raises:
        UserError: the weights do not fit, and `allow` does not say that they need not.
    """
    place = source.place
    came = str(place["file"]) if "file" in place else f"{place['part']} of {place['run']}"
    of = "" if "file" in place else f"{place['weights']} weights of iteration {place['iteration']:.0f}: "
    try:
        told = load_weights(
            network.encoder if isinstance(network, Headless) else network, source.state, place.get("allow") or ()
        )
    except UserError as error:
        raise UserError(f"{path}: {came}: {error}") from None
    say(f"{path}: {came}, {of}{told}")


def _read(given: Mapping[str, Any], path: str) -> tuple[dict[str, Any], Source]:
    """The config of the network that takes the place of a node with these arguments, and its weights."""
    given = {key: value for key, value in given.items() if value is not None}
    if not _of_file(given):
        return _of_run(**given)
    network = given.get("network")
    if not isinstance(network, Mapping) or "_target_" not in network:
        raise UserError(f"{path}: {NAME} needs network, the network that takes the weights: network: {{_target_: ...}}")
    if any(node["_target_"] == NAME for _, node in targets(network)):
        raise UserError(f"{path}.network holds another {NAME}: give one of them")
    return deepcopy(dict(network)), _of(given)


def _of_file(given: Mapping[str, Any]) -> bool:
    """Whether weights come from a file.

    Raises:
        UserError: neither a file nor a run is named, or both are.
    """
    of_file, of_run = given.get("file") is not None, given.get("run") is not None
    if of_file == of_run:
        raise UserError(f"{NAME} takes run, the folder of a run, or file, a file of weights: give one of them")
    other = ("weights",) if of_file else ("network", "at", "prefix", "names")
    if extra := [key for key in other if given.get(key)]:
        raise UserError(f"{NAME}: {', '.join(extra)} does not go with {'file' if of_file else 'run'}: leave it out")
    return of_file


def _of(given: Mapping[str, Any]) -> Source:
    """Weights of a file."""
    mapping = {key: given[key] for key in ("at", "prefix", "names") if given.get(key)}
    state = read_weights(given["file"], **mapping)
    digest = hashlib.sha256(Path(given["file"]).expanduser().read_bytes()).hexdigest()
    allow = {"allow": [*given["allow"]]} if given.get("allow") else {}
    return Source({"file": str(given["file"]), "sha256": digest, **mapping, **allow}, state)


def _of_run(
    run: str,
    part: str = "model.encoder",
    checkpoint: str = "last",
    weights: str | None = None,
    packages: Sequence[str] = (),
    allow: Sequence[str] = (),
) -> tuple[dict[str, Any], Source]:
    """The config of a run's network, and its weights."""
    opened = _opened(run, checkpoint, weights, packages)
    run = run if is_hub_name(run) else str(opened.folder.path)
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
    place |= {"allow": [*allow]} if allow else {}
    return node, Source({**place, "iteration": opened.state["counters"]["iterations"]}, Weights(state))


def _opened(run: str, checkpoint: str, weights: str | None, packages: Sequence[str]) -> OpenRun:
    return open_run(run, packages=packages, checkpoint=checkpoint, weights=weights)


def _part(run: OpenRun, part: str) -> nn.Module:
    root, _, inner = part.partition(".")
    names = [f"model.{name}" for name, _ in run.model.named_modules() if name]
    if root != "model" or part not in names:
        raise UserError(f"frame.pretrained: {choices(part, names, kind=f'network of {run.folder.path}')}")
    return run.model.get_submodule(inner)
