"""What each latent does to a picture."""

from typing import Protocol, runtime_checkable

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

from frame.data.base import DataSet
from frame.evaluation.base import Decodes, Encodes, Evaluation, LogEntry, given
from frame.evaluation.pictures import grid
from frame.mistakes import Mistake, at_least


@runtime_checkable
class _EncodesAndDecodes(Encodes, Decodes, Protocol):
    pass


class LatentTraversalEvaluation(Evaluation):
    """One picture's code, one latent at a time moved through the prior's range, decoded to means of p(x|z).

    The latents with the largest KL(q(z_i|x) || N(0, 1)), a mean over `n_samples` pictures in nats, come first, and
    the KL stands beside each: a latent near 0 carries nothing, and moving it should change nothing.

    Args:
        evaluate_on: split whose first drawn picture is traversed, and over which the KL is averaged.
        n_dims: latents shown.
        n_steps: values for each.
        limit: from -limit to limit, in standard deviations of the prior.
        n_samples: pictures for the KL.

    Raises:
        Mistake: a number is out of range.
    """

    needs = (Encodes, Decodes)

    def __init__(
        self, evaluate_on: str = "valid", n_dims: int = 10, n_steps: int = 11, limit: float = 3.0, n_samples: int = 1024
    ) -> None:
        super().__init__(evaluate_on)
        at_least(1, n_dims=n_dims, n_samples=n_samples)
        at_least(2, n_steps=n_steps)
        if not limit > 0:
            raise Mistake(f"limit={limit}: it must be positive")
        self.n_dims = n_dims
        self.n_steps = n_steps
        self.limit = limit
        self.n_samples = n_samples

    def evaluate(self, model: nn.Module, data: DataSet) -> LogEntry:
        assert isinstance(model, _EncodesAndDecodes)
        means, kls, taken = [], [], []
        for batch in self.batches(model, data, self.n_samples):
            taken.append(given(model, batch))
            q_z_given_x = model.encode(*taken[-1])
            means.append(q_z_given_x.mean)
            kls.append(kl_divergence(Normal(q_z_given_x.mean, q_z_given_x.stddev), Normal(0.0, 1.0)))
        kl, dims = torch.cat(kls).mean(0).sort(descending=True)
        dims = dims[: self.n_dims]
        values = torch.linspace(-self.limit, self.limit, self.n_steps, device=kl.device)
        z = means[0][0].repeat(len(dims), self.n_steps, 1)  # [n_dims, n_steps, z_dim]
        for row, dim in enumerate(dims):
            z[row, :, dim] = values
        others = [value[:1].repeat_interleave(len(z) * self.n_steps, 0) for value in taken[0][1:]]
        pictures = model.decode(z.flatten(0, 1), *others).mean
        return LogEntry(self.evaluate_on, figures={"": self._figure(pictures, values, dims, kl)})

    def _figure(self, pictures: Tensor, values: Tensor, dims: Tensor, kl: Tensor) -> Figure:
        image = grid(pictures, self.n_steps)
        height, width = image.shape[:2]
        row, column = height / len(dims), width / self.n_steps
        # Inches at 100 dots each: the picture's pixels are the file's, and margins hold the labels
        wide, high, left, below = width / 100, height / 100, 1.5, 0.6
        figure = Figure(figsize=(left + wide + 0.1, below + high + 0.1), dpi=100)
        size = figure.get_size_inches()
        axes = figure.add_axes((left / size[0], below / size[1], wide / size[0], high / size[1]))
        axes.imshow(image, interpolation="nearest")
        axes.set_yticks([(i + 0.5) * row for i in range(len(dims))])
        axes.set_yticklabels([f"z[{int(dim)}]: {float(nats):.2f} nats" for dim, nats in zip(dims, kl, strict=False)])
        axes.set_xticks([(i + 0.5) * column for i in range(self.n_steps)])
        # + 0.0 makes 0.0 of -0.0
        axes.set_xticklabels([f"{round(float(value), 1) + 0.0:.1f}" for value in values])
        axes.set_xlabel("value of the latent; beside each its KL to N(0, 1)")
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        return figure
