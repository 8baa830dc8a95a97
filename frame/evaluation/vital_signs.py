"""Signs of a model's health on a few hundred rows, as far as it has the capabilities. The doctor interprets them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frame.common.errors import UserError
from frame.data.base import Batch
from frame.evaluation.base import Encodes, Predicts, Samples, given
from frame.evaluation.codebook import Quantises
from frame.measures.codes import perplexity, usage
from frame.measures.geometry import directional_spread, effective_rank
from frame.measures.scores import kind_of

TELLING = 0.1  # nats that a direction must carry to be counted


@runtime_checkable
class Embeds(Protocol):
    """A joint-embedding method, whose loss acts on embeddings."""

    def embed(self, x: Tensor) -> Tensor:
        """z [B, z_dim]."""
        ...

    def features(self, x: Tensor) -> Tensor:
        """The backbone's features, [B, n]."""
        ...


def vital_signs(model: nn.Module, batch: Batch) -> dict[str, float]:
    """Numbers by name. Those for which the model lacks a capability, or that are not finite, are left out.

    Called in eval mode and without gradients, as an evaluation is.
    """
    found: dict[str, float] = {}
    for capability, sign in SIGNS:
        if isinstance(model, capability):
            try:
                found |= sign(model, batch)
            except (UserError, KeyError, NotImplementedError, TypeError):
                continue  # a distribution without moments, samples that need a condition, data without x
    return {name: value for name, value in found.items() if value == value}


def of_codes(model: Any, batch: Batch) -> dict[str, float]:
    """`information`: nats of the most informative latent. `directions`: those in which mean codes vary, of `n_latents`.

    A latent's information is (1/2) log(1 + Var_x(mean) / E_x[variance]), that of a Gaussian channel with this noise.
    With noise, the directions counted are those that carry TELLING nats or more, and always the best one. The effective
    rank would not do: most networks start with one wide direction, and narrow ones can still be informative. Without
    noise, it is the effective rank.
    """
    q_z_given_x = model.encode(*given(model, batch))
    mean = q_z_given_x.mean.flatten(1).double()  # [N, D]
    if not mean.isfinite().all():
        return {}
    found = {"n_latents": float(mean.shape[1])}
    noise = q_z_given_x.variance.flatten(1).double().mean(0)
    noisy = bool((noise > 0).all())
    if noisy:
        found["information"] = (mean.var(0) / noise).log1p().max().item() / 2
    if mean.shape[1] > 1 and noisy:
        ratios = torch.linalg.eigvalsh(torch.cov((mean / noise.sqrt()).T)).clamp(min=0)  # signal to noise
        found["directions"] = float(max(1, (ratios.log1p() / 2 >= TELLING).sum()))
    elif mean.shape[1] > 1 and not isinstance(model, Quantises):
        try:
            found["directions"] = effective_rank(mean)
        except UserError:  # all codes are equal
            found["directions"] = 0.0
    return found


def of_embeddings(model: Any, batch: Batch) -> dict[str, float]:
    """`spread` of the embeddings on which the loss acts, and `backbone_spread` of the features before them.

    They are `directional_spread`. `repeatability` is the share of the variance of embeddings, scaled to length 1, that
    two views of a row have in common; it needs views. All are normalised over these rows, as they are in the loss:
    running statistics are settled only after some hundred iterations.
    """
    x = given(model, batch)
    with normalised_by_the_batch(model):
        layers = {"spread": model.embed(*x), "backbone_spread": model.features(*x)}
        found = {name: directional_spread(codes.double()).item() for name, codes in layers.items()}
        if len(batch.get("views", ())) > 1:
            z1, z2 = (model.embed(view) for view in batch["views"][:2])
            found["repeatability"] = repeatability(z1.double(), z2.double())
    return found


def of_classes(model: Any, batch: Batch) -> dict[str, float]:
    """`told_apart`: the share of rows whose features, of the backbone, are nearest to the mean of their own class.

    It needs classes 'y', of which some have two rows or more.
    """
    if "y" not in batch or kind_of(batch["y"]) != "classes":
        return {}
    return {"told_apart": nearest_means(model.features(*given(model, batch)).double(), batch["y"])}


def nearest_means(codes: Tensor, y: Tensor) -> float:
    """The share of rows, codes [N, D] of classes y [N], to which the mean of their own class has the largest cosine.

    That mean is without the row itself; rows that are alone in their class do not count. NaN if all are.
    """
    z = F.normalize(codes.flatten(1) - codes.flatten(1).mean(0), dim=1)
    classes, own, counts = y.unique(return_inverse=True, return_counts=True)
    sums = z.new_zeros(len(classes), z.shape[1]).index_add_(0, own, z)  # [K, D]
    cosines = z @ F.normalize(sums, dim=1).T  # [N, K]
    cosines[torch.arange(len(z)), own] = (z * F.normalize(sums[own] - z, dim=1)).sum(1)
    return (cosines.argmax(1) == own)[counts[own] > 1].double().mean().item()


def repeatability(z1: Tensor, z2: Tensor) -> float:
    """1 - E|a - b|^2 / 2V for two codes [N, D] of the same rows, scaled to length 1: a, b; V is their total variance.

    1 if both are equal, and 0 if a code says nothing about the other one, or if all are equal.
    """
    a, b = F.normalize(z1.flatten(1), dim=1), F.normalize(z2.flatten(1), dim=1)
    within = (a - b).square().mean(0).sum() / 2
    total = torch.cat([a, b]).var(0).sum()
    return 1 - (within / total).item() if total > 1e-12 else 0.0


@contextmanager
def normalised_by_the_batch(model: nn.Module) -> Iterator[None]:
    """Within this context batch normalisations use statistics of the batch, and keep their running ones."""
    parts = [m for m in model.modules() if any(n.startswith("running") for n, _ in m.named_buffers(recurse=False))]
    before = [(part, part.training, [b.clone() for b in part.buffers(recurse=False)]) for part in parts]
    for part in parts:
        part.training = True
    try:
        yield
    finally:
        for part, training, kept in before:
            part.training = training
            for buffer, value in zip(part.buffers(recurse=False), kept, strict=True):
                buffer.copy_(value)


def of_predictions(model: Any, batch: Batch) -> dict[str, float]:
    """`n_classes`, unless numbers are predicted."""
    found = model.predict(*given(model, batch))
    return {"n_classes": float(found.shape[1])} if found.dim() == 2 else {}


def of_samples(model: Any, batch: Batch) -> dict[str, float]:
    """`sample_distance`: the median distance of a sample to the nearest other one, over that in the data."""
    x = batch["x"].flatten(1).float()
    samples = model.sample(len(x)).flatten(1).float()
    data = nearest_distance(x)
    if samples.shape != x.shape or not data > 0:
        return {}
    return {"sample_distance": nearest_distance(samples) / data}


def nearest_distance(x: Tensor) -> float:
    """The median distance of a row [N, D] to the nearest other one."""
    distances = torch.cdist(x, x)
    distances.fill_diagonal_(torch.inf)
    return distances.amin(1).median().item()


def of_codebook(model: Any, batch: Batch) -> dict[str, float]:
    """`perplexity` of the codes in use, of `n_codes`, counted in `n_vectors` vectors."""
    indices = model.quantise(*given(model, batch)).cpu()
    used = perplexity(usage(indices, model.n_codes).double())
    return {"perplexity": used.item(), "n_codes": float(model.n_codes), "n_vectors": float(indices.numel())}


SIGNS: tuple[tuple[type, Callable[[Any, Batch], dict[str, float]]], ...] = (
    (Encodes, of_codes),
    (Embeds, of_embeddings),
    (Embeds, of_classes),
    (Predicts, of_predictions),
    (Samples, of_samples),
    (Quantises, of_codebook),
)
