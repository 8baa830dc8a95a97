"""Parts of a run that are objects of Python instead of nodes of its config.

Such a run's config holds the class's name as `_target_`, without arguments, and a few words on each object below
`objects`. The part can be built again only by a caller who has the object.
"""

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from frame.common.errors import UserError
from frame.composition.settings import OBJECTS
from frame.data import given
from frame.data.base import Batch, DataSet
from frame.models.base import AdversarialModel, Model
from frame.runs.folder import RunFolder

LOSS = "compute_loss(batch), which returns a scalar tensor or a dict with 'loss'"


class Objective(Model):
    """An `nn.Module` with `compute_loss(batch)` that is no `Model`: its methods and attributes are the module's.

    Args:
        module: a batch is a dict with 'x', 'y' if there are labels, and 'index'. `compute_loss` returns a scalar tensor
            or a dict of them with 'loss'. What else it has is used if it is there: `needs`, `inputs`, `after_update`,
            and methods that evaluations ask for, such as `encode`, `features` and `predict`.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        for name, value in (("needs", self.needs), ("inputs", self.inputs), ("least_rows", self.least_rows)):
            setattr(self, name, getattr(module, name, value))

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == "module" or name.startswith("__"):
                raise
            return getattr(super().__getattr__("module"), name)

    def __reduce__(self) -> tuple[Any, ...]:  # its class is made for the module's, and cannot be imported
        return objective, (self.module,), {"training": self.training}

    def compute_loss(self, batch: Batch) -> dict[str, Tensor]:
        found = self.module.compute_loss(batch)  # type: ignore[operator]
        return {"loss": found} if isinstance(found, Tensor) else found

    def after_update(self, iteration: int) -> None:
        update = getattr(self.module, "after_update", None)
        if callable(update):
            update(iteration)


@dataclass
class Objects:
    """The objects of a run that was started from Python.

    Args:
        model: the objective as it was given; each run trains a copy of it.
        data: the data.
        texts: a few words on each, by part.
        folder: the run's folder, once there is one.
        progress: whether progress is shown.
        reason: why it failed.
    """

    model: Model | None = None
    data: DataSet | None = None
    texts: dict[str, str] = field(default_factory=dict)
    folder: Path | None = None
    progress: bool = True
    reason: str = ""

    @classmethod
    def of(cls, model: Any = None, data: Any = None) -> "Objects":
        """The objects for what was given to `frame.train`; None stands for a part that the config names.

        Raises:
            UserError: the model is no module with a loss, or the data are none.
        """
        texts = {}
        if model is not None:
            texts["model"] = name_of(model)
        if data is not None:
            texts["data"] = given.described(data)
        return cls(
            None if model is None else objective(model), None if data is None else given.data_set(data), texts, None
        )

    @property
    def nodes(self) -> dict[str, dict[str, Any]]:
        """What the config holds in the place of each object."""
        found = {}
        if self.model is not None:
            found["model"] = {"_target_": self.texts["model"]}
        if self.data is not None:
            found["data"] = {"_target_": f"{type(self.data).__module__}.{type(self.data).__qualname__}"}
        return found

    def updated(self, other: "Objects") -> "Objects":
        """These objects, and those of `other` in their place where it has any."""
        return Objects(other.model or self.model, other.data or self.data, {**self.texts, **other.texts}, self.folder)

    def noted(self, plain: Mapping[str, Any]) -> dict[str, Any]:
        """A config with the words on these objects; without objects as it is."""
        return {**plain, OBJECTS: dict(self.texts)} if self.texts else dict(plain)

    def untrained(self, build: Callable[[], Any]) -> Callable[[], Any]:
        """What makes the model as it was before training; `build` does it for a model that the config names."""
        return build if self.model is None else self.copied_model

    def copied_model(self) -> Model:
        """A copy of the model, so that the object stays as it was given.

        Raises:
            UserError: the module cannot be copied.
        """
        assert self.model is not None
        try:
            return deepcopy(self.model)
        except Exception as error:  # tensors that are not leaves, locks, open files ...
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise UserError(
                f"model: {self.texts['model']} cannot be copied ({reason}), and each run trains a copy"
            ) from None


def objective(model: Any) -> Model:
    """The objective that a module is.

    Raises:
        UserError: it is no module, or has no loss.
    """
    if isinstance(model, type):
        raise UserError(f"model={model.__name__} is a class: give an instance, {model.__name__}(...)")
    if not isinstance(model, nn.Module):
        raise UserError(f"model={model!r:.60} is no torch.nn.Module ({type(model).__name__}): give one with {LOSS}")
    if isinstance(model, Model):
        return model
    if not callable(getattr(model, "compute_loss", None)):
        raise UserError(
            f"model: {type(model).__name__} has no loss: give it {LOSS}, or hand the network to a method, such as "
            "frame.models.Classifier.Classifier(encoder, predictor)"
        )
    kind = type(model)
    own = [name for name in dir(kind) if not name.startswith("_") and not hasattr(Objective, name)]
    # from Python 3.12 on, isinstance(model, Predicts) finds methods of the class alone, and nothing by __getattr__
    methods = {name: _handed_on(name) for name in own if callable(getattr(kind, name))}
    named: type[Objective] = type(kind.__name__, (Objective,), methods)  # messages name a model by its class
    return named(model)


def _handed_on(name: str) -> Callable[..., Any]:
    """A method that calls the module's."""

    def method(self: Objective, *args: Any, **kwargs: Any) -> Any:
        return getattr(self.module, name)(*args, **kwargs)

    return method


def name_of(model: Any) -> str:
    """The full name of a module's class."""
    kind = type(model.module if isinstance(model, Objective) else model)
    return f"{kind.__module__}.{kind.__qualname__}"


def refuse(plain: Mapping[str, Any], part: str, run: RunFolder | None) -> None:
    """Raises UserError if a part of a run's config was an object, which nobody can build again."""
    text = (plain.get(OBJECTS) or {}).get(part)
    if text is not None and run is not None:
        raise UserError(
            f"the {part} of {run.path} was an object ({text}) and cannot be built from its config: in Python, give it "
            f"again, frame.open('{run.path}', {part}=...)"
        )


def procedure(objects: Objects) -> str:
    """The optimization for a model that is an object, if none is chosen."""
    return "adversarial_ADAM" if isinstance(objects.model, AdversarialModel) else "batch_ADAM"
