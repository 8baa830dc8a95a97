"""A method as a transformer of scikit-learn: `fit` trains it, `transform` gives codes."""

import math
from collections.abc import Mapping, Sequence
from copy import deepcopy
from numbers import Integral
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.preprocessing import LabelEncoder
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data
from torch import nn

from frame.common.errors import UserError, choices
from frame.common.interrupts import Interrupted
from frame.composition import config_files
from frame.composition.compose import compose
from frame.composition.folders import file_of, options, use_own_folder
from frame.composition.instantiate import instantiate, locate
from frame.composition.session import unchanged
from frame.composition.settings import check_parts, check_read
from frame.composition.words import words_of
from frame.data.base import DataSet
from frame.data.given import Given
from frame.data.memory import InMemory
from frame.data.views import Views
from frame.engine import experiment
from frame.engine.objects import Objects, name_of, objective, procedure
from frame.evaluation.base import evaluating
from frame.evaluation.codes import LAYERS, check_layers

QUIET: dict[str, Any] = {"logging": [], "evaluations": None, "doctor": None, "checkpoint": {"every": None}}
ROWS = 1024  # that are encoded at once


class Representation(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Codes of a representation that frame trains on X.

    Nothing is written to disk and nothing is printed. Rows are a table, which is standardised column by column, or
    pictures if `shape` says so, which are taken as they are, with values of 0 to 1.

    Args:
        model: a name in config/model, or a module with `compute_loss(batch)`, of which a copy is trained.
        z_dim: numbers in a code; `params.z_dim` of the model. None leaves the model's own.
        train_for: how long it is trained: '20 epochs', '500 iterations', '30 seconds'.
        batch_size: rows of a step.
        lr: the learning rate.
        shape: of a row of X as a picture, (channels, height, width); None: a table.
        layer: 'mean' of the code's distribution, or 'features', the encoder's layer before it.
        settings: further settings by their keys, such as {"params.beta": 0.1} or {"architectures": "conv"}.
        random_state: None draws a seed from numpy's random numbers; an int, or a RandomState.

    Attributes:
        model_: the trained model.
        classes_: the classes of y, if the model learns from labels.
        n_features_in_, feature_names_in_: as everywhere in scikit-learn.

    Raises:
        UserError: a name or a setting is wrong, or training fails.

    Example:
        >>> from frame.sklearn import Representation
        >>> codes = Representation("VAE", z_dim=8).fit(X).transform(X)
        >>> make_pipeline(Representation("VIB", train_for="50 epochs"), LogisticRegression()).fit(X, y)
    """

    def __init__(
        self,
        model: Any = "VAE",
        *,
        z_dim: int | None = 8,
        train_for: str = "20 epochs",
        batch_size: int = 64,
        lr: float = 1e-3,
        shape: Sequence[int] | None = None,
        layer: str = "mean",
        settings: Mapping[str, Any] | None = None,
        random_state: Any = None,
    ) -> None:
        self.model = model
        self.z_dim = z_dim
        self.train_for = train_for
        self.batch_size = batch_size
        self.lr = lr
        self.shape = shape
        self.layer = layer
        self.settings = settings
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> "Representation":
        """Trains the model on X [N, D]; y [N] are classes, for models that learn from labels, and else ignored."""
        X = validate_data(self, X, dtype=np.float64, ensure_min_samples=2)
        check_layers([self.layer])
        with unchanged():
            use_own_folder()
            needs = self._needs()
            labels = self._labels(y, len(X)) if "y" in needs else None
            self._standardise(X)
            rows = Given({"train": InMemory(self._rows(X), labels)})
            data: DataSet = self._with_views(rows) if "views" in needs else rows
            self.model_ = self._trained(data)
            self._n_features_out = self._codes(X[:1]).shape[1]
        return self

    def transform(self, X: Any) -> np.ndarray:
        """The codes of X [N, D]: [N, n], float64."""
        check_is_fitted(self, "model_")
        return self._codes(validate_data(self, X, reset=False, dtype=np.float64))

    def _codes(self, X: np.ndarray) -> np.ndarray:
        # float64, so that a row's code does not depend on the rows beside it
        model = deepcopy(self.model_).double()
        x, (_, code) = torch.from_numpy(self._rows(X)), LAYERS[self.layer]
        with evaluating(model), torch.no_grad():
            parts = [code(model, {"x": part, "index": torch.arange(len(part))}) for part in x.split(ROWS)]
        return torch.cat(parts).double().numpy()

    def _trained(self, data: DataSet) -> nn.Module:
        objects = Objects(None, data, {"data": "X"}, progress=False)
        params = {"batch_size": self.batch_size, "lr": self.lr}
        if isinstance(self.model, str):
            chosen: dict[str, Any] = {"model": self.model}
            params |= {} if self.z_dim is None else {"z_dim": self.z_dim}
        else:
            objects.model, objects.texts["model"] = objective(self.model), name_of(self.model)
            chosen = {"optimization": procedure(objects)}
        given = {**chosen, **QUIET, "params": params, "train_for": self.train_for, "seed": self._seed()}
        config = compose([*words_of([], given), *words_of([], self.settings or {})], objects.nodes)
        check_read(config)
        check_parts(config)
        built = experiment.build(config, objects=objects)
        code = experiment.fit(built, None)
        if code > 128:
            raise Interrupted(code - 128)
        if code:
            raise UserError(f"Representation: training failed: {objects.reason}")
        return built.model.cpu().eval()

    def _needs(self) -> tuple[str, ...]:
        """The keys of a batch that the model's loss reads."""
        if not isinstance(self.model, str):
            return tuple(getattr(objective(self.model), "needs", ("x",)))
        file = file_of("model", self.model)
        if file is None:
            raise UserError(choices(self.model, options("model"), kind="model"))
        content = config_files.values(file)
        return tuple(locate(str((content.get("model") or content)["_target_"]), "model").needs)

    def _labels(self, y: Any, n: int) -> np.ndarray:
        if y is None:
            raise ValueError(f"{self.model} requires y to be passed, but the target y is None")
        encoder = LabelEncoder().fit(column_or_1d(y, warn=True))
        self.classes_ = encoder.classes_
        labels = np.asarray(encoder.transform(column_or_1d(y)))
        if len(labels) != n:
            raise ValueError(f"X has {n} rows and y {len(labels)}")
        return labels

    def _standardise(self, X: np.ndarray) -> None:
        if self.shape is not None:
            if len(self.shape) != 3 or math.prod(self.shape) != X.shape[1]:
                raise ValueError(f"shape={self.shape}: (channels, height, width), whose product is {X.shape[1]}")
            return
        self.mean_ = X.mean(0)
        scale = X.std(0)
        self.scale_ = np.where(scale > 0, scale, 1.0)

    def _rows(self, X: np.ndarray) -> np.ndarray:
        """X as the model sees it, float64."""
        return X.reshape(len(X), *self.shape) if self.shape is not None else (X - self.mean_) / self.scale_

    def _with_views(self, data: DataSet) -> DataSet:
        if self.shape is None:
            raise UserError(f"{self.model} compares views of pictures: give shape=(channels, height, width) of a row")
        file = file_of("data", "views")
        assert file is not None
        return Views(data, instantiate(config_files.values(file)["augmentations"], "data.augmentations"))

    def _seed(self) -> int:
        if isinstance(self.random_state, Integral):
            return int(self.random_state)
        return int(check_random_state(self.random_state).randint(2**31 - 1))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        try:
            tags.target_tags.required = "y" in self._needs()
        except UserError:  # `fit` says what is wrong with the model
            pass
        return tags
