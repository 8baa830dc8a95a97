"""What each latent does to a picture."""

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

from frame.common.errors import UserError, at_least
from frame.data.base import Batch, DataSet
from frame.evaluation.base import Decodes, Encodes, Evaluation, LogEntry, device_of, given
from frame.evaluation.pictures import labelled_grid
from frame.measures.geometry import finite


@runtime_checkable
class _EncodesAndDecodes(Encodes, Decodes, Protocol):
    pass


class LatentTraversalEvaluation(Evaluation):
    """One picture's code, moved through the prior's range one latent at a time, and decoded to means of p(x|z).

    The latents with the largest KL(q(z_i|x) || N(0, 1)) come first, and the KL is written beside each: a mean over
    `n_samples` pictures in nats. A latent with a KL near 0 carries no information, and moving it should change nothing.

    Args:
        evaluate_on: split whose first drawn picture is traversed, and over which the KL is averaged.
        n_dims: latents shown.
        n_steps: values for each latent.
        limit: values go from -limit to limit, in standard deviations of the prior.
        n_samples: pictures for the KL.

    Raises:
        UserError: a number is out of range.
        NoNumber: from `evaluate`, codes that are not finite.
    """

    needs = (Encodes, Decodes)
    numbers = {}
    pictures = ("",)
    draws = True

    def __init__(
        self, evaluate_on: str = "valid", n_dims: int = 10, n_steps: int = 11, limit: float = 3.0, n_samples: int = 1024
    ) -> None:
        super().__init__(evaluate_on)
        at_least(1, n_dims=n_dims, n_samples=n_samples)
        at_least(2, n_steps=n_steps)
        if not limit > 0:
            raise UserError(f"limit={limit}: it must be positive")
        self.n_dims = n_dims
        self.n_steps = n_steps
        self.limit = limit
        self.n_samples = n_samples

    def evaluate(self, model: nn.Module, data: DataSet) -> LogEntry:
        assert isinstance(model, _EncodesAndDecodes)

        def of(batch: Batch) -> dict[str, Tensor]:
            x, *others = given(model, batch)
            q_z_given_x = model.encode(x, *others)
            mean = q_z_given_x.mean
            finite(mean.flatten(1))
            kl = kl_divergence(Normal(mean, q_z_given_x.stddev), Normal(0.0, 1.0))
            first = {str(i): value[:1] for i, value in enumerate((mean, *others))}
            return {"kl": kl, **first}

        found = self.over_rows(model, data, self.n_samples, of)
        kl, dims = found.pop("kl").mean(0).sort(descending=True)
        dims = dims[: self.n_dims]
        values = torch.linspace(-self.limit, self.limit, self.n_steps)
        mean, *others = (value[:1] for value in found.values())  # of the first row of all
        z = mean.repeat(len(dims), self.n_steps, 1)  # [n_dims, n_steps, z_dim]
        for row, dim in enumerate(dims):
            z[row, :, dim] = values
        each = [value.repeat_interleave(len(z) * self.n_steps, 0) for value in others]
        device = device_of(model)
        pictures = model.decode(z.flatten(0, 1).to(device), *(value.to(device) for value in each)).mean
        figure = labelled_grid(
            pictures,
            self.n_steps,
            [f"z[{int(dim)}]: {float(nats):.2f} nats" for dim, nats in zip(dims, kl, strict=False)],
            [f"{round(float(value), 1) + 0.0:.1f}" for value in values],  # + 0.0 makes 0.0 of -0.0
            "value of the latent; beside each its KL to N(0, 1)",
        )
        return LogEntry(self.evaluate_on, figures={"": figure})
