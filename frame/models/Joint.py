"""Several models on the same batches, each with a weight, for the joint procedure."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from frame.common.errors import UserError, choices
from frame.common.schedules import Coefficient, coefficient
from frame.data.base import Batch
from frame.models.base import AdversarialModel, Model


class Joint(Model):
    """loss = sum over models of weight * loss. Each model's own losses are logged as `<name>/<loss>`.

    The models share only the batches, unless Python code gives them the same network. To evaluate one of them, use
    `frame.evaluation.part.PartEvaluation`.

    Args:
        models: by name; each is a complete model.
        weights: weights of the models' losses, by name; 1 by default.

    Raises:
        UserError: there are no models, a weight is negative or belongs to no model, or a model has an adversary.
    """

    def __init__(self, models: Mapping[str, Model], weights: Mapping[str, float | Coefficient] | None = None) -> None:
        super().__init__()
        if not models:
            raise UserError("Joint has no models: name them under model.models")
        weights = dict(weights or {})
        for name in weights:
            if name not in models:
                raise UserError(f"model.weights: {choices(name, models, kind='model')}")
        for name, model in models.items():
            if isinstance(model, AdversarialModel):
                raise UserError(
                    f"model.models.{name} has an adversary: train it alone, with optimization=adversarial_ADAM"
                )
        self.models = nn.ModuleDict(dict(models))
        self.weights = nn.ModuleDict({name: coefficient(name, weights.get(name, 1.0)) for name in models})
        self.needs = tuple(dict.fromkeys(key for model in models.values() for key in model.needs))
        self.vectorisable = all(model.vectorisable for model in models.values())

    def compute_loss(self, batch: Batch) -> dict[str, Tensor]:
        return self.summed({name: self.models[name](batch) for name in self.models})

    def summed(self, found: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """The losses of each model under its name, and 'loss', their weighted sum."""
        weighted = [self.weights[name]() * found[name]["loss"] for name in self.models]
        parts = {f"{name}/{key}": value for name, losses in found.items() for key, value in losses.items()}
        return {"loss": torch.stack(weighted).sum(), **parts}

    def after_update(self, iteration: int) -> None:
        for model in self.models.values():
            assert isinstance(model, Model)
            model.after_update(iteration)
