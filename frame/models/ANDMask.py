"""Steps only along the coordinates in which the environments' gradients agree.

Parascandolo et al. 2021, "Learning explanations that are hard to vary" (2009.00329), section 2.3.
"""

import torch
from torch import Tensor

from frame.common.errors import UserError
from frame.data.base import Batch
from frame.models.base import ConditionalDistribution, EnvironmentGradientModel


class ANDMask(EnvironmentGradientModel):
    """loss = mean over environments e of R_e; its gradient is m * mean of g_e.

    R_e is the mean of -log p(y|z) in e, nats per sample, and g_e its gradient. In each coordinate, m is 1 if
    |mean over e of sign(g_e)| >= agreement, else 0. 'kept' is the share of coordinates in which it is 1.

    A step of plain gradient descent leaves the other coordinates as they are. An optimizer with momentum or weight
    decay still moves them.

    Args:
        encoder: q(z|x), of which only the mean is used.
        predictor: p(y|z).
        n_envs: the number of environments.
        agreement: tau, in [0, 1]; 0 masks nothing, and 1 asks for equal signs in all environments.
        normalise: whether the g_e of each parameter tensor are divided by their norms before their mean is taken, so
            that each environment has the same weight. The authors of the linear unit tests do so for weights.

    Raises:
        UserError: agreement is not in [0, 1], or as `EnvironmentModel`.
    """

    def __init__(
        self,
        encoder: ConditionalDistribution,
        predictor: ConditionalDistribution,
        n_envs: int | None,
        agreement: float,
        normalise: bool = False,
    ) -> None:
        super().__init__(encoder, predictor, n_envs)
        if not 0 <= agreement <= 1:
            raise UserError(f"agreement={agreement}: it must lie in [0, 1], such as 0.9")
        self.agreement, self.normalise = agreement, normalise

    def compute_loss(self, batch: Batch) -> dict[str, Tensor]:
        risks, there, gradients = self.risks_and_gradients(batch, differentiable=False)
        # the loss is a mean of risks in value, and the sum of theta * masked gradient in its slope
        n_envs, slope, kept, n = there.sum(), torch.zeros_like(risks[0]), torch.zeros_like(risks[0]), 0
        parameters = dict(self.named_parameters())
        for name, found in gradients.items():
            masked, mask = self.masked(found, n_envs)
            slope = slope + (parameters[name] * masked).sum()
            kept, n = kept + mask.sum(), n + mask.numel()
        risk = (risks.sum() / n_envs).detach()
        return {"loss": risk + (slope - slope.detach()), "risk": risk, "kept": kept / n}

    def masked(self, gradients: Tensor, n_envs: Tensor) -> tuple[Tensor, Tensor]:
        """m * mean of g_e, and m, both of the parameter's shape, for g_e [E, *shape], n_envs of which have rows."""
        gradients = gradients.detach()
        mask = (gradients.sign().sum(0).abs() >= self.agreement * n_envs - 1e-4).to(gradients.dtype)  # tau E may round
        if self.normalise:
            norms = gradients.reshape(len(gradients), -1).norm(dim=1).clamp(min=torch.finfo(gradients.dtype).tiny)
            gradients = gradients / norms.view(-1, *[1] * (gradients.dim() - 1))
        return mask * gradients.sum(0) / n_envs, mask
