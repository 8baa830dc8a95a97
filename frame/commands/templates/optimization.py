"""One model, one optimizer, several steps on each batch, to be changed into a procedure of your own."""

from torch import Tensor

from frame.common.errors import at_least
from frame.data.base import Batch
from frame.models.base import Model
from frame.optimization.base import Optimization, OptimizerPartial, Player, SchedulePartial


class Mine(Optimization):
    """Descends the model's loss `rounds` times on each batch.

    Args:
        optimizer: a partial of any torch optimizer, called with the parameters.
        rounds: steps on each batch.
        schedule: a partial of a torch scheduler or of `frame.optimization.schedules`, called with the optimizer.

    The other arguments are `Optimization`'s.

    Raises:
        UserError: rounds < 1.
    """

    def __init__(
        self,
        model: Model,
        optimizer: OptimizerPartial,
        batch_size: int,
        rounds: int = 1,
        schedule: SchedulePartial | None = None,
        clip: float | None = None,
        average: float | None = None,
        noise_seed: int = 0,
    ) -> None:
        super().__init__(model, batch_size, clip=clip, average=average, noise_seed=noise_seed)
        at_least(1, rounds=rounds)
        self.rounds = rounds
        self._optimizer, self._schedule = optimizer, schedule

    def make_players(self) -> dict[str, Player]:
        return {"model": Player(list(self.model.parameters()), self._optimizer, self._schedule)}

    def step(self, batch: Batch) -> dict[str, Tensor]:
        for _ in range(self.rounds):
            losses: dict[str, Tensor] = self.model(batch)  # through its forward, so that ranks stay equal
            self.descend("model", losses["loss"])
        return losses
