"""One model, one optimizer, several steps on each batch, to be changed into a procedure of your own."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from frame.common.errors import at_least
from frame.data.base import Batch
from frame.models.base import Model
from frame.optimization.base import Optimization, OptimizerPartial, Player


class Mine(Optimization):
    """Descends the model's loss `rounds` times on each batch.

    Args:
        optimizer: a partial of any torch optimizer, called with the parameters.
        rounds: steps on each batch.

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
        clip: float | None = None,
        average: float | None = None,
        noise_seed: int = 0,
        rules: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(model, batch_size, clip=clip, average=average, noise_seed=noise_seed, rules=rules)
        at_least(1, rounds=rounds)
        self.rounds = rounds
        self._optimizer = optimizer

    def make_players(self) -> dict[str, Player]:
        return {"model": Player(self.model.named_parameters(), self._optimizer)}

    def step(self, batch: Batch) -> dict[str, Tensor]:
        for _ in range(self.rounds):
            losses: dict[str, Tensor] = self.model(batch)  # through its forward, so that ranks stay equal
            self.descend("model", losses["loss"])
        return losses
