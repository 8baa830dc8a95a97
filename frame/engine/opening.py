"""Opens a run. Its config may only name classes that compute and come from a trusted package."""

import importlib
import inspect
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn
from torch.distributions import Distribution
from torch.utils.data import Dataset

from frame.common.errors import UserError, choices
from frame.common.output import say
from frame.composition.checks import targets
from frame.composition.instantiate import instantiate, locate
from frame.composition.stored import is_data_root
from frame.data.base import DataSet, Source
from frame.engine.display import as_html, as_text
from frame.engine.objects import Objects, refuse
from frame.evaluation.base import Evaluation
from frame.runs import hub
from frame.runs.exported import Export
from frame.runs.folder import RunFolder
from frame.runs.listing import only
from frame.runs.metrics import columns
from frame.runs.modules import Source as Modules
from frame.runs.modules import importing
from frame.runs.origin import Origin, origin_of

if TYPE_CHECKING:
    import pandas

# Modules whose classes a run may name, and the types that they may be. The rest of frame and torch starts processes,
# reads code and writes files.
TRUSTED = (
    "frame.models",
    "frame.architectures",
    "frame.data",
    "frame.probability",
    "frame.evaluation",
    "frame.common.schedules",
    "torch.nn",
    "torch.distributions",
)
DEFINED = (*TRUSTED[:-2], "torch.nn.modules", "torch.distributions")  # torch.nn has classes that start processes
TRAINED, NOW = SOURCES = ("trained", "now")  # which state of the user's own modules serves
LOADERS = ("datasets.load_from_disk", "datasets.load_dataset")  # functions that a caller's packages=['datasets'] allows
NAME = re.compile(r"[A-Za-z_]\w{0,99}(\.\w{1,99}){1,19}", re.ASCII)
BUILDABLE: tuple[type, ...] = (nn.Module, Distribution, DataSet, Dataset, Evaluation)


@dataclass(frozen=True)
class Trust:
    """What a run may build, besides classes of `frame` and torch.

    Args:
        packages: packages and modules that the caller trusts.
        origin: what is known of the run's own modules.
        export: the export, if it is one.
    """

    packages: tuple[str, ...] = ()
    origin: Origin = Origin()
    export: Export | None = None

    @property
    def names(self) -> tuple[str, ...]:
        return (*self.packages, *self.origin.modules)


def guard(plain: Any, trust: Trust = Trust()) -> dict[str, Any]:
    """The classes that plain values name, by `_target_`, each of which computes and comes from a trusted place.

    A name is checked before its module is imported, and again by where its class is defined. Exported source is named
    in the error, but trusted no more than the rest. A run that the user trained may build what it built then.

    Raises:
        UserError: a `_target_` is anything else.
    """
    if trust.origin.own:
        return {str(node["_target_"]): locate(str(node["_target_"]), path) for path, node in targets(plain)}
    packages, export = trust.names, trust.export
    found: dict[str, type] = {}
    for path, node in targets(plain):
        name = str(node["_target_"])
        if not NAME.fullmatch(name):
            raise UserError(f"{path} names {' '.join(name.split())[:80]!r}, which is not a class's name: not built")
        came = export.manifest["modules"].get(name.rpartition(".")[0]) if export is not None else None
        if export is not None and came is not None and not _below(name, packages):
            raise UserError(
                f"{path} names {name}, whose source is in the export and is not trusted: read {export.path / came}, "
                f"then pass trust_source=True; or packages=['{name.split('.')[0]}'] where it is installed"
            )
        if not _below(name, (*TRUSTED, *packages)):
            package = name.split(".")[0]
            own = package in ("frame", "torch")
            hint = f", and {trust.origin.hint}; or" if trust.origin.hint else ": if you trust it,"
            raise UserError(
                f"{path} names {name}, which is not trusted" + ("" if own else f"{hint} pass packages=['{package}']")
            )
        kind = _find(name, path)
        if name in LOADERS and not node.get("trust_remote_code"):
            found[name] = kind
            continue
        defined = _below(getattr(kind, "__module__", ""), (*DEFINED, *packages))
        if not (inspect.isclass(kind) and issubclass(kind, BUILDABLE) and defined):
            what = "a module, distribution, data set or evaluation"
            raise UserError(f"{path} names {name}, which is not {what}: not built")
        found[name] = kind
    return found


def build_model(folder: RunFolder, trust: Trust = Trust()) -> nn.Module:
    """The run's model with untrained weights."""
    refuse(folder.plain, "model", folder)
    model: nn.Module = _build(folder.filled("model"), "model", trust, nn.Module)
    return model


def build_data(folder: RunFolder, trust: Trust = Trust()) -> DataSet:
    """The run's data set."""
    from frame.data.files import trained_in
    from frame.data.per_sample import as_data_set

    refuse(folder.plain, "data", folder)
    own = trust.origin.folder if trust.origin.own else None
    with importing(trust.origin.source), trained_in(own):
        try:
            return as_data_set(_build(folder.filled("data"), "data", trust, object))
        except UserError as error:
            where = trust.origin.folder
            if not trust.origin.own or where == os.path.realpath(Path.cwd()):
                raise
            hint = f"if a path of the data is relative, give the command in {where}, where the run was trained"
            raise UserError(f"{error}; {hint}") from error.__cause__


def build_evaluation(node: Mapping[str, Any] | DictConfig, trust: Trust = Trust()) -> Evaluation:
    """An evaluator of a run's callbacks, or a chosen one."""
    plain = OmegaConf.to_container(node, resolve=False) if isinstance(node, DictConfig) else node
    evaluation: Evaluation = _build(plain, "evaluator", trust, Evaluation)
    return evaluation


def _build(plain: Any, key: str, trust: Trust, kind: type) -> Any:
    """Builds exactly the values and classes that were checked."""
    plain = _without_downloads(plain)
    with importing(trust.origin.source):
        found = guard({key: plain}, trust)
        built = instantiate(plain, key, lambda name, path: found[name])
    if not isinstance(built, kind):
        raise UserError(f"{key} is a {type(built).__name__}, and no {kind.__name__}: not built")
    return built


def _without_downloads(plain: Any) -> Any:
    """The same config, except that data are downloaded only to this machine's own data folder.

    Opening a run must not write to a path that the run names."""
    if isinstance(plain, list):
        return [_without_downloads(inner) for inner in plain]
    if not isinstance(plain, dict):
        return plain
    node = {key: _without_downloads(inner) for key, inner in plain.items()}
    if node.get("download_files") and not is_data_root(str(node.get("data_root"))):
        node["download_files"] = False
    return node


def _below(name: str, packages: Sequence[str]) -> bool:
    return any(name == package or name.startswith(package + ".") for package in packages)


def _find(name: str, path: str) -> Any:
    module, _, attribute = name.rpartition(".")
    try:
        return vars(importlib.import_module(module)).get(attribute)
    except (ImportError, ValueError) as error:
        raise UserError(
            f"{path} names {name}, which is not built: {error}; a module of your own must be on sys.path"
        ) from None


class OpenRun:
    """An opened run, finished or not, or export: `.model`, `.config`, `.data('test')`, `.results`."""

    def __init__(
        self,
        folder: RunFolder,
        packages: Sequence[str] = (),
        device: str = "cpu",
        weights: str | None = None,
        checkpoint: str = "last",
        trust_source: bool = False,
        objects: Objects | None = None,
        source: str = TRAINED,
    ) -> None:
        if source not in SOURCES:
            raise UserError(choices(source, SOURCES, kind="source"))
        self.objects = objects or Objects()
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        self.folder, self.packages, self.device, self.checkpoint = folder, tuple(packages), device, checkpoint
        self.now = source == NOW
        self.export: Export | None = Export.at(folder.path)
        self.exported: Modules | None = None
        if self.export is not None:
            self.export.verify()
            self.checkpoint, weights = self.export.check(checkpoint, weights)
            self.exported = self.export.source() if trust_source else None
        elif trust_source:
            raise UserError(f"{folder.path} is not an export: a run's classes are trusted by packages=[...]")
        self.config = folder.config
        self.weights = weights or str(self.config.get("weights", "average"))

    def __repr__(self) -> str:
        return as_text(self.folder)

    def _repr_html_(self) -> str:
        """What a notebook shows: the results and pictures."""
        return as_html(self.folder)

    @property
    def status(self) -> dict[str, Any]:
        return self.folder.status

    @cached_property
    def trust(self) -> Trust:
        """What may be built. Prints a line if the user's own source has changed since the run was trained.

        Raises:
            UserError: see `frame.runs.origin.origin_of`.
        """
        if self.export is not None:
            known = Origin() if self.exported is None else Origin(modules=(*self.exported.files,), source=self.exported)
            return Trust(self.packages, known, self.export)
        origin = origin_of(self.folder, now=self.now, packages=self.packages)
        if origin.said:
            say(f"{self.folder.path}: {origin.said}")
        return Trust(self.packages, origin, self.export)

    def importing(self) -> AbstractContextManager[None]:
        """Within it, imports find the run's own modules: as they were when it was trained, or as they are now."""
        return importing(self.trust.origin.source)

    @cached_property
    def state(self) -> dict[str, Any]:
        """The checkpoint's content, read once, because a training run replaces it.

        Raises:
            UserError: there is none yet, or it cannot be read.
        """
        state = self.folder.checkpoint(self.checkpoint)
        if state is None:
            raise UserError(f"{self.folder.path} has no {self.checkpoint} checkpoint yet")
        return state

    @property
    def kept(self) -> str:
        """The weights that `model` has: 'average' only if the run keeps one."""
        return "average" if self.weights == "average" and self.state["average"] is not None else "raw"

    def untrained(self) -> nn.Module:
        """The model that the config names, with untrained weights."""
        return build_model(self.folder, self.trust)

    @cached_property
    def model(self) -> nn.Module:
        """The trained model in eval mode, with averaged weights if the run has them, unless `weights='raw'`.

        Raises:
            UserError: there is no checkpoint yet, a class may not be built, or the weights do not fit.
        """
        state = self.state
        model: nn.Module = self.objects.untrained(self.untrained)()
        weights = state["model"]
        if self.kept == "average":
            # the averaged copy has its weights below `module`, and a count
            weights = {k.removeprefix("module."): v for k, v in state["average"].items() if k.startswith("module.")}
        try:
            model.load_state_dict(weights)
        except RuntimeError as error:
            difference = str(error).splitlines()[1].strip()[:120] if "\n" in str(error) else str(error)
            raise UserError(
                f"the weights in {self.folder.path} do not fit its model as the code is now ({difference} ...): "
                "open it with the version that code.json names"
            ) from None
        return model.to(self.device).eval()

    @cached_property
    def data_set(self) -> DataSet:
        """The run's complete data.

        Raises:
            UserError: a class may not be built, files are missing, or the data are not those that the run was trained
                on; some of these only when a split is read.
        """
        return self.of_this_run(self.objects.data or build_data(self.folder, self.trust))

    def of_this_run(self, data: DataSet) -> DataSet:
        """Returns `data`, which must be those that the run was trained on.

        Raises:
            DataChanged: they differ, as far as this is known before a split is read.
        """
        data.expect(self.folder.data, str(self.folder.path))
        return data

    def data(self, split: str) -> Source:
        """One split of the run's data."""
        return self.data_set.split(split)

    def resume(self, *words: str, **options: Any) -> "OpenRun":
        """Trains on from the last checkpoint, with the objects that the run was trained with; returns this run.

        Args:
            words, options: what a resumed run may change, such as `train_for="20 epochs"`.

        Raises:
            UserError: another process trains in it, or a setting may not change.
            KeyboardInterrupt: as for `frame.train`.
        """
        from frame.engine.calls import train

        try:
            train(*words, resume=self, **options)
        finally:
            for name in ("state", "model"):  # they were those of the former checkpoint
                vars(self).pop(name, None)
            self.folder = RunFolder(self.folder.path)
        return self

    @property
    def results(self) -> "pandas.DataFrame":
        """All measurements, one row per number: name, value, unit, split, n_samples, estimator, iteration ..."""
        import pandas

        return pandas.DataFrame(self.folder.records)

    @property
    def metrics(self) -> "pandas.DataFrame":
        """The logged numbers, as in metrics.csv: one column per name, with iteration, seconds and epochs.

        Raises:
            UserError: its file cannot be read.
        """
        import numpy
        import pandas

        return pandas.DataFrame({name: numpy.asarray(column) for name, column in columns(self.folder.path).items()})


def open(
    folder: str | Path,
    *,
    packages: Sequence[str] = (),
    device: str = "cpu",
    weights: str | None = None,
    checkpoint: str = "last",
    trust_source: bool = False,
    model: Any = None,
    data: Any = None,
    source: str = TRAINED,
) -> OpenRun:
    """Opens a run's folder or an export, wherever the packages that its config names can be imported.

    Args:
        folder: the run or the export, or a folder with one run in it, as a cell of a study; or an export's name on the
            Hugging Face hub, 'user/name' or 'user/name@revision', which is downloaded to your cache.
        packages: further packages whose classes the config may build, besides `frame` and torch's own.
        device: the model's device; 'auto': a GPU if there is one.
        weights: 'average' or 'raw'; None takes what the run's config says.
        checkpoint: 'last' or 'best'; an export has one.
        trust_source: whether to run the source in an export. Read it first: it can do everything that you can do.
        model, data: the objects that the run was trained with, if `frame.train` was given any: its weights are loaded
            into a copy of the model.
        source: 'trained': your own modules as they were when the run was trained; 'now': as they are now.

    Raises:
        UserError: there is no run in the folder, or there are several; a file of an export is not what was exported;
            or the hub cannot be reached.

    Example:
        >>> run = frame.open("runs/digits_VAE/2026-11-28_12-00-00")
        >>> codes = run.model.encode(x).mean
    """
    if hub.is_hub_name(folder):
        folder = hub.downloaded(str(folder))
    objects = Objects.of(model, data)
    return OpenRun(
        RunFolder.existing(only(folder)), packages, device, weights, checkpoint, trust_source, objects, source
    )


def load(folder: str | Path, part: str = "model", **options: Any) -> nn.Module:
    """A run's trained model, or a part of it such as 'model.encoder', in eval mode; options as for `open`.

    Raises:
        UserError: there is no run, no checkpoint, or no such part.
    """
    run = open(folder, **options)
    root, _, inner = part.partition(".")
    if root != "model":
        raise UserError(f"load takes 'model' or a part of it such as 'model.encoder', not '{part}'")
    try:
        return run.model.get_submodule(inner)
    except AttributeError:
        raise UserError(choices(inner, (n for n, _ in run.model.named_children()), kind="part of the model")) from None
