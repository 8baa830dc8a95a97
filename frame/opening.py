"""Building from a config of somebody else's: only classes that compute, from packages that are trusted."""

import importlib
import inspect
from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf
from torch import nn
from torch.distributions import Distribution
from torch.utils.data import Dataset

from frame.checks import targets
from frame.data.base import DataSet
from frame.evaluation.base import Evaluation
from frame.mistakes import Mistake

TRUSTED = ("frame", "torch.nn", "torch.distributions")
# `torch` as a whole is no guard: torch.hub and others in it run code that a config names.
BUILDABLE: tuple[type, ...] = (nn.Module, Distribution, DataSet, Dataset, Evaluation)


def guard(config: Any, packages: Sequence[str] = ()) -> None:
    """Raises Mistake where a `_target_` is no class that computes, defined in a trusted package.

    A name is judged before its module is imported, and again by where its class was defined.
    """
    allowed = (*TRUSTED, *packages)
    for path, node in targets(config):
        name = str(node["_target_"])
        if not _below(name, allowed):
            package = name.split(".")[0]
            raise Mistake(f"{path} names {name}, which is not trusted: if you trust it, pass packages=['{package}']")
        found = _find(name)
        if not (inspect.isclass(found) and issubclass(found, BUILDABLE) and _below(found.__module__, allowed)):
            raise Mistake(f"{path} names {name}, which is no module, distribution, data set or evaluation: not built")


def build_model(config: DictConfig, packages: Sequence[str] = ()) -> nn.Module:
    """The run's model with untrained weights."""
    model: nn.Module = _build(config, "model", packages, nn.Module)
    return model


def build_data(config: DictConfig, packages: Sequence[str] = ()) -> DataSet:
    """The run's data set."""
    from frame.data.per_sample import as_data_set

    return as_data_set(_build(config, "data", packages, object))


def build_evaluation(node: DictConfig, packages: Sequence[str] = ()) -> Evaluation:
    """One evaluator of the run's callbacks."""
    evaluation: Evaluation = _build(OmegaConf.create({"evaluator": node}), "evaluator", packages, Evaluation)
    return evaluation


def _build(config: DictConfig, key: str, packages: Sequence[str], kind: type) -> Any:
    from hydra.utils import instantiate

    node = config[key]
    # resolved first: what a reference stands for is guarded, too
    plain = OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
    guard({key: plain}, packages)
    built = instantiate(plain)
    assert isinstance(built, kind), f"{key} is a {type(built).__name__}"
    return built


def _below(name: str, packages: Sequence[str]) -> bool:
    return any(name == package or name.startswith(package + ".") for package in packages)


def _find(name: str) -> Any:
    module, _, attribute = name.rpartition(".")
    try:
        return getattr(importlib.import_module(module), attribute, None)
    except ImportError:
        return None
