"""A run, opened to look at. What its config names is built only if it computes and comes from a trusted package."""

import importlib
import inspect
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf
from torch import nn
from torch.distributions import Distribution
from torch.utils.data import Dataset

from frame.checks import targets
from frame.data.base import DataSet, Source
from frame.evaluation.base import Evaluation
from frame.mistakes import Mistake, choices
from frame.runs import RunFolder

if TYPE_CHECKING:
    import pandas

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
        found = _find(name, path)
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


def _find(name: str, path: str) -> Any:
    module, _, attribute = name.rpartition(".")
    try:
        return getattr(importlib.import_module(module), attribute, None)
    except ImportError as error:
        raise Mistake(
            f"{path} names {name}, which is not built: {error}; a module of your own has to lie on sys.path"
        ) from None


class Run:
    """A finished or unfinished run, opened to look at: `.model`, `.config`, `.data('test')`, `.results`."""

    def __init__(
        self,
        folder: RunFolder,
        packages: Sequence[str] = (),
        device: str = "cpu",
        weights: str | None = None,
        checkpoint: str = "last",
    ) -> None:
        self.folder, self.packages, self.device, self.checkpoint = folder, tuple(packages), device, checkpoint
        self.config = folder.config
        self.weights = weights or str(self.config.get("weights", "average"))

    @property
    def status(self) -> dict[str, Any]:
        return self.folder.status

    @cached_property
    def model(self) -> nn.Module:
        """The trained model in eval mode; averaged weights where the run kept them, unless `weights='raw'`.

        Raises:
            Mistake: there is no checkpoint yet, or the config names what may not be built.
        """
        state = self.folder.checkpoint(self.checkpoint)
        if state is None:
            raise Mistake(f"{self.folder.path} has no {self.checkpoint} checkpoint yet")
        model = build_model(self.config, self.packages)
        weights = state["model"]
        if self.weights == "average" and state["average"] is not None:
            # the averaged copy keeps its weights below `module`, beside a count
            weights = {k.removeprefix("module."): v for k, v in state["average"].items() if k.startswith("module.")}
        model.load_state_dict(weights)
        return model.to(self.device).eval()

    @cached_property
    def data_set(self) -> DataSet:
        """The run's data, whole.

        Raises:
            Mistake: the config names what may not be built, or files are missing when a split is read.
        """
        return build_data(self.config, self.packages)

    def data(self, split: str) -> Source:
        """One split of the run's data."""
        return self.data_set.split(split)

    @property
    def results(self) -> "pandas.DataFrame":
        """All that was measured, one row a number: name, value, unit, split, n_samples, estimator, iteration ..."""
        import pandas

        return pandas.DataFrame(self.folder.records)

    @property
    def metrics(self) -> "pandas.DataFrame":
        """metrics.csv: a column a name, with iteration and seconds."""
        import pandas

        return pandas.read_csv(self.folder.path / "metrics.csv")


def open(
    folder: str | Path,
    *,
    packages: Sequence[str] = (),
    device: str = "cpu",
    weights: str | None = None,
    checkpoint: str = "last",
) -> Run:
    """Opens a run's folder, anywhere the packages that its config names can be imported.

    Args:
        folder: the run.
        packages: besides `frame`, `torch.nn` and `torch.distributions`, whose classes the config may build.
        device: where the model goes.
        weights: 'average' or 'raw'; None takes what the run's config says.
        checkpoint: 'last' or 'best'.

    Raises:
        Mistake: there is no run in the folder.
    """
    return Run(RunFolder.existing(folder), packages, device, weights, checkpoint)


def load(folder: str | Path, part: str = "model", **options: Any) -> nn.Module:
    """A run's trained model, or a part of it such as 'model.encoder', in eval mode; options as for `open`.

    Raises:
        Mistake: there is no run, no checkpoint, or no such part.
    """
    run = open(folder, **options)
    root, _, inner = part.partition(".")
    if root != "model":
        raise Mistake(f"load takes 'model' or a part of it such as 'model.encoder', not '{part}'")
    try:
        return run.model.get_submodule(inner)
    except AttributeError:
        raise Mistake(choices(inner, (n for n, _ in run.model.named_children()), kind="part of the model")) from None
