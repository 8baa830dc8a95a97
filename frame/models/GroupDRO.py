"""The worst environment, by weights that grow with its risk.

Sagawa et al. 2020, "Distributionally robust neural networks for group shifts" (1911.08731), algorithm 1.
"""

import math

import torch
from torch import Tensor

from frame.common.errors import at_least
from frame.data.base import Batch
from frame.models.base import ConditionalDistribution, EnvironmentModel


class GroupDRO(EnvironmentModel):
    """loss = sum over environments e of q_e R_e, where q_e <- q_e exp(step_size R_e), normalised, at each step.

    R_e is the mean of -log p(y|z) in e, nats per sample. The paper draws a group for each step; here a batch has rows
    of all of them, as in the authors' code. The weights q start equal, and are a buffer. If a step is made of several
    batches, the last one decides them.

    Args:
        encoder: q(z|x), of which only the mean is used.
        predictor: p(y|z).
        n_envs: the number of environments, the paper's groups.
        step_size: eta_q of the weights, at least 0.

    Raises:
        UserError: step_size is negative, or as `EnvironmentModel`.
    """

    log_q: Tensor  # [E], after the last step
    next_log_q: Tensor  # after the step of the last batch in training

    def __init__(
        self,
        encoder: ConditionalDistribution,
        predictor: ConditionalDistribution,
        n_envs: int | None,
        step_size: float,
    ) -> None:
        super().__init__(encoder, predictor, n_envs)
        at_least(0, step_size=step_size)
        self.step_size = step_size
        self.register_buffer("log_q", torch.full((self.n_envs,), -math.log(self.n_envs)))
        self.register_buffer("next_log_q", self.log_q.clone())

    def compute_loss(self, batch: Batch) -> dict[str, Tensor]:
        p_y_given_z = self.predictor(self.encoder(batch["x"]).mean)
        risks, there = self.by_environment(-p_y_given_z.log_prob(batch["y"]), batch["env"])  # [E]
        # q_e exp(eta R_e) / sum; an environment without rows has R_e = 0
        log_q = (self.log_q + self.step_size * risks.detach()).log_softmax(0)
        if self.training:
            self.next_log_q.copy_(log_q)
        return {"loss": (log_q.exp() * risks).sum(), "risk": risks.sum() / there.sum(), "worst_risk": risks.amax()}

    def after_update(self, iteration: int) -> None:
        self.log_q.copy_(self.next_log_q)
