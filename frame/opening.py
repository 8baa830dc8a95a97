"""A run, opened to look at. What its config names is built only if it computes and comes from a trusted package."""

import importlib
import inspect
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationResolutionError
from torch import nn
from torch.distributions import Distribution
from torch.utils.data import Dataset

from frame.checks import targets
from frame.data.base import DataSet, Source
from frame.evaluation.base import Evaluation
from frame.exported import Export
from frame.mistakes import Mistake, choices
from frame.runs import RunFolder

if TYPE_CHECKING:
    import pandas

TRUSTED = ("frame", "torch.nn", "torch.distributions")
# `torch` as a whole is no guard: torch.hub and others in it run code that a config names.
BUILDABLE: tuple[type, ...] = (nn.Module, Distribution, DataSet, Dataset, Evaluation)


def guard(config: Any, packages: Sequence[str] = (), export: Export | None = None) -> None:
    """Raises Mistake where a `_target_` is no class that computes, defined in a trusted package.

    A name is judged before its module is imported, and again by where its class was defined. What came along with an
    export is named, and trusted no more than the rest.
    """
    allowed = (*TRUSTED, *packages)
    for path, node in targets(config):
        name = str(node["_target_"])
        came = export.manifest["modules"].get(name.rpartition(".")[0]) if export is not None else None
        if export is not None and came is not None and not _below(name, packages):
            raise Mistake(
                f"{path} names {name}, whose source came along and is not trusted: read {export.path / came}, "
                f"then pass trust_source=True; or packages=['{name.split('.')[0]}'] where it is installed"
            )
        if not _below(name, allowed):
            package = name.split(".")[0]
            raise Mistake(f"{path} names {name}, which is not trusted: if you trust it, pass packages=['{package}']")
        found = _find(name, path)
        if not (inspect.isclass(found) and issubclass(found, BUILDABLE) and _below(found.__module__, allowed)):
            raise Mistake(f"{path} names {name}, which is no module, distribution, data set or evaluation: not built")


def build_model(config: DictConfig, packages: Sequence[str] = (), export: Export | None = None) -> nn.Module:
    """The run's model with untrained weights."""
    model: nn.Module = _build(config, "model", packages, nn.Module, export)
    return model


def build_data(config: DictConfig, packages: Sequence[str] = (), export: Export | None = None) -> DataSet:
    """The run's data set."""
    from frame.data.per_sample import as_data_set

    return as_data_set(_build(config, "data", packages, object, export))


def build_evaluation(node: DictConfig, packages: Sequence[str] = ()) -> Evaluation:
    """One evaluator of the run's callbacks."""
    evaluation: Evaluation = _build(OmegaConf.create({"evaluator": node}), "evaluator", packages, Evaluation)
    return evaluation


def _build(config: DictConfig, key: str, packages: Sequence[str], kind: type, export: Export | None = None) -> Any:
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate

    node = config[key]
    try:
        # resolved first: what a reference stands for is guarded, too
        plain = OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
    except InterpolationResolutionError as error:
        raise Mistake(f"{key} cannot be filled in: {str(error).splitlines()[0]}") from None
    guard({key: plain}, packages, export)
    try:
        built = instantiate(plain)
    except InstantiationException as error:  # Hydra wraps what a constructor refuses
        raise error.__cause__ if isinstance(error.__cause__, Mistake) else error from None
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
    """A run, finished or not, or an export, opened to look at: `.model`, `.config`, `.data('test')`, `.results`."""

    def __init__(
        self,
        folder: RunFolder,
        packages: Sequence[str] = (),
        device: str = "cpu",
        weights: str | None = None,
        checkpoint: str = "last",
        trust_source: bool = False,
    ) -> None:
        self.folder, self.packages, self.device, self.checkpoint = folder, tuple(packages), device, checkpoint
        self.export = Export.at(folder.path)
        if self.export is not None:
            self.export.verify()
            self.checkpoint, weights = self.export.check(checkpoint, weights)
            if trust_source:
                self.packages += self.export.trust()
        elif trust_source:
            raise Mistake(f"{folder.path} is no export: a run's classes are trusted by packages=[...]")
        self.config = folder.config
        self.weights = weights or str(self.config.get("weights", "average"))

    @property
    def status(self) -> dict[str, Any]:
        return self.folder.status

    @cached_property
    def model(self) -> nn.Module:
        """The trained model in eval mode; averaged weights where the run kept them, unless `weights='raw'`.

        Raises:
            Mistake: there is no checkpoint yet, the config names what may not be built, or weights and code do not fit.
        """
        state = self.folder.checkpoint(self.checkpoint)
        if state is None:
            raise Mistake(f"{self.folder.path} has no {self.checkpoint} checkpoint yet")
        model = build_model(self.config, self.packages, self.export)
        weights = state["model"]
        if self.weights == "average" and state["average"] is not None:
            # the averaged copy keeps its weights below `module`, beside a count
            weights = {k.removeprefix("module."): v for k, v in state["average"].items() if k.startswith("module.")}
        try:
            model.load_state_dict(weights)
        except RuntimeError as error:
            difference = str(error).splitlines()[1].strip()[:120] if "\n" in str(error) else str(error)
            raise Mistake(
                f"the weights in {self.folder.path} do not fit its model as the code is now ({difference} ...): "
                "open it with the version that code.json names"
            ) from None
        return model.to(self.device).eval()

    @cached_property
    def data_set(self) -> DataSet:
        """The run's data, whole.

        Raises:
            Mistake: the config names what may not be built, or files are missing when a split is read.
        """
        return build_data(self.config, self.packages, self.export)

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
    trust_source: bool = False,
) -> Run:
    """Opens a run's folder or an export, anywhere the packages that its config names can be imported.

    Args:
        folder: the run or the export.
        packages: besides `frame`, `torch.nn` and `torch.distributions`, whose classes the config may build.
        device: where the model goes.
        weights: 'average' or 'raw'; None takes what the run's config says.
        checkpoint: 'last' or 'best'; an export has one.
        trust_source: run the source that came along with an export. Read it first: it can do all that you can.

    Raises:
        Mistake: there is no run in the folder, or a file of an export is not what was exported.
    """
    return Run(RunFolder.existing(folder), packages, device, weights, checkpoint, trust_source)


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
