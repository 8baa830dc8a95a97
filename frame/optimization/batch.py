"""The plain procedure: one model, one optimizer, one step per batch."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from frame.common.errors import UserError
from frame.data.base import Batch
from frame.models.base import AdversarialModel, Model
from frame.optimization.base import Optimization, OptimizerPartial, Player


class BatchOptimization(Optimization):
    """Descends the model's loss with one optimizer.

    Args:
        optimizer: a partial of any torch optimizer, called with the parameters.

    The other arguments are `Optimization`'s.

    Raises:
        UserError: the model has an adversary, which this procedure would train together with its opponent.
    """

    def __init__(
        self,
        model: Model,
        optimizer: OptimizerPartial,
        batch_size: int,
        accumulate: int = 1,
        clip: float | None = None,
        average: float | None = None,
        noise_seed: int = 0,
        rules: Mapping[str, Any] | None = None,
        lr_batch: int | None = None,
    ) -> None:
        super().__init__(model, batch_size, accumulate, clip, average, noise_seed, rules, lr_batch)
        if isinstance(model, AdversarialModel):
            raise UserError(f"{type(model).__name__} has an adversary: choose optimization=adversarial_ADAM")
        self._optimizer = optimizer

    def make_players(self) -> dict[str, Player]:
        return {"model": Player(self.model.named_parameters(), self._optimizer)}

    def step(self, batch: Batch) -> dict[str, Tensor]:
        losses: dict[str, Tensor] = self.model(batch)
        self.descend("model", losses["loss"])
        return losses
