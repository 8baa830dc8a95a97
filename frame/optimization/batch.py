"""The plain procedure: one model, one optimizer, one step a batch."""

from torch import Tensor

from frame.common.errors import UserError
from frame.data.base import Batch
from frame.models.base import AdversarialModel, Model
from frame.optimization.base import Optimization, OptimizerPartial, Player, SchedulePartial


class BatchOptimization(Optimization):
    """Descends the model's loss with one optimizer.

    Args:
        optimizer: a partial of any torch optimizer, called with the parameters.
        schedule: a partial of a torch scheduler or of `frame.optimization.schedules`, called with the optimizer.

    The other arguments are `Optimization`'s.

    Raises:
        UserError: the model has an adversary, which this procedure would move along with its opponent.
    """

    def __init__(
        self,
        model: Model,
        optimizer: OptimizerPartial,
        batch_size: int,
        schedule: SchedulePartial | None = None,
        accumulate: int = 1,
        clip: float | None = None,
        average: float | None = None,
        noise_seed: int = 0,
    ) -> None:
        super().__init__(model, batch_size, accumulate, clip, average, noise_seed)
        if isinstance(model, AdversarialModel):
            raise UserError(f"{type(model).__name__} has an adversary: choose optimization=adversarial_ADAM")
        self._optimizer, self._schedule = optimizer, schedule

    def make_players(self) -> dict[str, Player]:
        return {"model": Player(list(self.model.parameters()), self._optimizer, self._schedule)}

    def step(self, batch: Batch) -> dict[str, Tensor]:
        losses: dict[str, Tensor] = self.model(batch)
        self.descend("model", losses["loss"])
        return losses
