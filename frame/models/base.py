"""The interface of models: objectives on a batch, independent of data set, architecture and optimizer."""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution

from frame.common.errors import UserError, at_least
from frame.common.ranks import all_rows, own_part, sum_over_ranks
from frame.common.schedules import Coefficient, coefficient
from frame.data.base import Batch
from frame.probability.distributions import Delta, IndependentBernoulli, like, negative_log_prob, rsample
from frame.probability.divergences import kl_divergence


class Model(nn.Module):
    """An objective. Networks and coefficients come through the constructor, under the names of the YAML keys.

    `forward` is a function of parameters, buffers, the batch and noise: no `.item()`, no Python branch on the value of
    a tensor, noise through `rsample`. So the same model can be compiled, captured in a CUDA graph or stacked
    (`torch.func.functional_call` and `vmap`). A model that cannot be stacked sets `vectorisable = False` and says why.
    """

    vectorisable: bool = True
    needs: tuple[str, ...] = ("x",)  # the batch's keys that the loss reads, such as 'y' or 'unlabelled.x'
    least_rows: int = 1  # of a batch in training, such as 2 if rows are compared
    inputs: tuple[str, ...] = ("x",)  # the keys that encode, reconstruct, log_likelihood_bound ... take, in this order

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Scalars, means over the batch, in nats per sample; 'loss' is differentiated, the others are logged."""
        return self.compute_loss(batch)

    def compute_loss(self, batch: Batch) -> dict[str, Tensor]:
        raise NotImplementedError

    def after_update(self, iteration: int) -> None:
        """Called after each optimizer step, to write buffers (teacher, queue, codebook); does nothing by default."""


class AdversarialModel(Model):
    """Two players: the parameters of `adversary` play against all the others.

    In each step the procedure switches off the gradients of the other player, so no loss needs to detach anything.
    """

    adversary: nn.Module

    def compute_adversarial_loss(self, batch: Batch) -> dict[str, Tensor]:
        """The adversary's losses; 'loss' is differentiated with respect to its parameters only."""
        raise NotImplementedError


class ConditionalDistribution(nn.Module):
    """A network that returns a distribution, of batch_shape (B,) unless it is a p(z).

    Its `forward` names and types the inputs on which the distribution is conditioned, in this order:

        q(z|x)         forward(x)       x [B, *shape]
        q(z|x, y)      forward(x, y)    y [B]
        p(x|z)         forward(z)       z [B, z_dim]
        p(x|z, y)      forward(z, y)
        p(y|z)         forward(z)       z [..., z_dim] -> batch_shape (...)
        p(z)           forward(y=None, *, encoder=None), which reads neither or the encoder -> batch_shape ()
        p(z|y)         forward(y, *, encoder=None)

    A model passes its encoder to its prior by that keyword. An encoder also has `features(x)`, [B, D]: what its last
    layer, the head, reads.
    """

    forward: Callable[..., Distribution]  # each subclass has its own inputs


class GenerativeAdversarialModel(AdversarialModel):
    """Adversarial models with G(z) and p(z); a subclass defines the losses.

    Args:
        generator: G(z), a network whose distribution has all its mass at one picture.
        adversary: the discriminator or critic.
        prior: p(z).
    """

    def __init__(
        self, generator: ConditionalDistribution, adversary: nn.Module, prior: ConditionalDistribution
    ) -> None:
        super().__init__()
        self.generator = generator
        self.adversary = adversary
        self.prior = prior

    def latents(self, n_samples: int) -> Tensor:
        """z ~ p(z), [n_samples, z_dim]."""
        return rsample(self.prior(), (n_samples,))

    def generate(self, z: Tensor) -> Tensor:
        """G(z), [n_samples, *shape]."""
        return rsample(self.generator(z))

    def decode(self, z: Tensor) -> Distribution:
        """All mass at G(z), batch_shape (B,)."""
        return self.generator(z)

    def sample(self, n_samples: int, sample_images: bool = False) -> Tensor:
        """G(z) for z ~ p(z), [n_samples, *shape]; `sample_images` has no effect, since G has no noise."""
        return self.generate(self.latents(n_samples))


class EncoderModel(Model):
    """A model with an encoder, q(z|x), and its features.

    Both methods take x and then the other `inputs` of the model, if there are any.
    """

    encoder: ConditionalDistribution  # q(z|x)
    # The part whose output each layer of a record is
    networks: Mapping[str, str] = {"mean": "encoder", "sample": "encoder", "features": "backbone"}

    def encode(self, x: Tensor, *conditions: Tensor) -> Distribution:
        """q(z|x), batch_shape (B,)."""
        return self.encoder(x, *conditions)

    def features(self, x: Tensor, *conditions: Tensor) -> Tensor:
        """The encoder's features of x, [B, D].

        Raises:
            UserError: the encoder has none.
        """
        features: Callable[..., Tensor] | None = getattr(self.encoder, "features", None)
        if features is None:
            raise UserError(
                f"{type(self.encoder).__name__} has no features(x): give it this method, or make it an "
                "architectures.base.Encoder of a backbone and a head"
            )
        return features(x, *conditions)


class NoHead(ConditionalDistribution):
    """Stands for an encoder's head: all mass at the features."""

    def forward(self, features: Tensor) -> Distribution:
        return Delta(features.float())


def headless(encoder: nn.Module) -> nn.Module:
    """The encoder without its head, for methods that train its features; they have a projector instead of the head.

    Raises:
        UserError: the encoder has no features(x).
    """
    if not hasattr(encoder, "features"):
        raise UserError(
            f"{type(encoder).__name__} has no features(x), which the method trains: give it this method, or make it an "
            "architectures.base.Encoder of a backbone and a head"
        )
    if isinstance(getattr(encoder, "head", None), nn.Module):
        encoder.head = NoHead()
        if hasattr(encoder, "z_dim"):
            del encoder.z_dim
    return encoder


def n_features(encoder: nn.Module) -> int | None:
    """The number of an encoder's features; None if it does not say."""
    found: int | None = getattr(getattr(encoder, "backbone", encoder), "n_out", None)
    return found


def sized(network: nn.Module | partial[Any], name: str, n_in: int | None, source: str) -> nn.Module:
    """A network that is still to be made, from YAML's `_partial_: true`, made with `n_in` inputs; a module as it is.

    Args:
        name: the constructor's argument, for messages.
        n_in: numbers in a row of what it reads; None if `source` does not say.
        source: what it reads, for messages.

    Raises:
        UserError: the network is to be made, and n_in is not known; or it is no module.
    """
    if isinstance(network, partial):
        if n_in is None:
            raise UserError(f"{source} has no n_out, the number of its features: give it one, or the {name} n_in")
        network = network(n_in=n_in)
    if not isinstance(network, nn.Module):
        raise UserError(f"{name} must be a torch.nn.Module, and is {network!r:.60}: give it a _target_")
    return network


class JointEmbeddingModel(EncoderModel):
    """Methods that compare embeddings z = g(h) of views of the same row, h = f(x); a subclass defines the loss.

    f is the encoder without its head, g the projector. The loss acts on z, and h is what other tasks use: `encode(x)`
    has all mass at z, `features(x)` is h.

    Args:
        encoder: f; its head is removed, see `headless`.
        projector: g, h [B, n] -> z [B, z_dim]; with `_partial_: true` it is made here, for the encoder's features.

    Raises:
        UserError: the encoder has no features, or their number is not known.
    """

    needs: tuple[str, ...] = ("views",)
    least_rows = 2  # rows are compared, or projectors normalise over the batch
    networks = {"mean": "projector", "features": "backbone"}

    def __init__(self, encoder: nn.Module, projector: nn.Module | partial[Any]) -> None:
        super().__init__()
        self.encoder: Any = headless(encoder)
        self.projector = sized(projector, "projector", n_features(encoder), type(encoder).__name__)

    def embed(self, x: Tensor) -> Tensor:
        """z = g(f(x)), [B, z_dim], float32."""
        z: Tensor = self.projector(self.encoder.features(x))
        return z.float()

    def encode(self, x: Tensor, *conditions: Tensor) -> Distribution:
        """All mass at z, batch_shape (B,), event_shape (z_dim,)."""
        return Delta(self.embed(x))


class Teacher(nn.Module):
    """A copy of an encoder and its projector that gets no gradient and follows them by a moving average of weights.

    The copy's weights are buffers: no optimizer and no rule finds them, they are in the checkpoint, and DDP leaves them
    alone. Its batch normalisations use statistics of the batch, and their running statistics are its own.

    Args:
        encoder: f; the copy is f'.
        projector: g; the copy is g'.
        decay: the share of its own weights that it keeps in each update, in [0, 1]; it may follow a schedule.

    Raises:
        UserError: decay is not in [0, 1].
    """

    def __init__(self, encoder: nn.Module, projector: nn.Module, decay: float | Coefficient) -> None:
        super().__init__()
        self.decay = coefficient("decay", decay)
        if self.decay.bounds[1] > 1:
            raise UserError(f"decay={self.decay.bounds[1]:g}: it must lie in [0, 1], such as 0.99")
        self.encoder: Any = _of_buffers(encoder)
        self.projector: Any = _of_buffers(projector)
        self.weights = [f"encoder.{name}" for name, _ in encoder.named_parameters()]  # its buffers that are weights
        self.weights += [f"projector.{name}" for name, _ in projector.named_parameters()]

    @torch.no_grad()
    def embed(self, x: Tensor) -> Tensor:
        """z' = g'(f'(x)), [B, z_dim], float32, without gradient."""
        z: Tensor = self.projector(self.encoder.features(x))
        return z.float()

    @torch.no_grad()
    def follow(self, encoder: nn.Module, projector: nn.Module) -> None:
        """theta' = decay theta' + (1 - decay) theta, for all weights theta of the student."""
        for copy_, student in ((self.encoder, encoder), (self.projector, projector)):
            mine = dict(copy_.named_buffers())
            for name, parameter in student.named_parameters():
                own_part(mine[name]).lerp_(own_part(parameter), 1 - self.decay())


def embedding_size(projector: nn.Module) -> int:
    """The projector's z_dim.

    Raises:
        UserError: it does not say.
    """
    z_dim: int | None = getattr(projector, "z_dim", None)
    if z_dim is None:
        raise UserError(f"{type(projector).__name__} has no z_dim, the length of an embedding: give it this attribute")
    return z_dim


def product(a: Tensor, b: Tensor) -> Tensor:
    """a @ b in float32, also under autocast."""
    with torch.autocast(a.device.type, enabled=False):
        return a.float() @ b.float()


def cosines(a: Tensor, b: Tensor) -> Tensor:
    """cos(a_i, b_j) of the rows of a [N, D] and b [M, D]: [N, M], float32."""
    return product(F.normalize(a.float(), dim=1), F.normalize(b.float(), dim=1).T)


def above_zero(name: str, value: float | Coefficient) -> Coefficient:
    """A coefficient such as a temperature, by which something is divided; `name` is the constructor's argument.

    Raises:
        UserError: it is neither a number nor a schedule, or not above 0.
    """
    found = coefficient(name, value)
    if not found.bounds[0] > 0:
        raise UserError(f"{name}={found.bounds[0]:g}: it must be above 0, such as 0.1")
    return found


def _of_buffers(network: nn.Module) -> nn.Module:
    """A copy of a network whose parameters have become buffers."""
    found = copy.deepcopy(network)
    weights = {parameter: parameter.detach().clone() for parameter in found.parameters()}
    for module in found.modules():
        for name, parameter in [*module.named_parameters(recurse=False, remove_duplicate=False)]:
            delattr(module, name)
            module.register_buffer(name, weights[parameter])
    return found


def two_views(batch: Batch) -> tuple[Tensor, Tensor]:
    """The two views of a batch, each of the shape of x.

    Raises:
        UserError: there are not two views.
    """
    views = batch["views"]
    if len(views) != 2:
        raise UserError(f"the model takes two views, and each batch has {len(views)}: set data.n_views=2")
    return views[0], views[1]


class LatentVariableModel(EncoderModel):
    """Models with q(z|x), p(x|z) and p(z); a subclass defines the loss.

    All methods take x or z and then the other `inputs` of the model: none here, and y in a subclass whose networks are
    q(z|x, y), p(x|z, y) and p(z|y).

    Args:
        encoder: q(z|x).
        decoder: p(x|z).
        prior: p(z), called with the encoder, which most priors do not read.

    Raises:
        UserError: the networks disagree on z_dim.
    """

    def __init__(
        self, encoder: ConditionalDistribution, decoder: ConditionalDistribution, prior: ConditionalDistribution
    ) -> None:
        super().__init__()
        check_z_dim(encoder=encoder, decoder=decoder, prior=prior)
        self.encoder = encoder
        self.decoder = decoder
        self.prior = prior

    def p_z(self, *conditions: Tensor) -> Distribution:
        """p(z), batch_shape ()."""
        return self.prior(*conditions, encoder=self.encoder)

    def sample_prior(self, n_samples: int) -> Tensor:
        """z ~ p(z), [n_samples, z_dim]; the prior gets gradients if its samples are reparametrised."""
        p_z = self.p_z()
        return rsample(p_z, (n_samples,)) if p_z.has_rsample else p_z.sample((n_samples,))

    def distortion_and_rate(self, x: Tensor, *conditions: Tensor) -> tuple[Tensor, Tensor]:
        """-log p(x|z) for one z ~ q(z|x), and KL(q(z|x) || p(z)); both [B], nats."""
        q_z_given_x = self.encoder(x, *conditions)
        z = rsample(q_z_given_x)
        p_x_given_z = self.decoder(z, *conditions)
        return negative_log_prob(p_x_given_z, x), kl_divergence(q_z_given_x, self.p_z(*conditions), z)

    def log_likelihood_bound(self, x: Tensor, *conditions: Tensor) -> dict[str, Tensor]:
        """'elbo' <= log p(x), 'distortion' and 'rate', each [B], nats; the KL always has weight 1."""
        distortion, rate = self.distortion_and_rate(x, *conditions)
        return {"elbo": -distortion - rate, "distortion": distortion, "rate": rate}

    def log_weights(self, x: Tensor, *conditions: Tensor, n_samples: int) -> Tensor:
        """log p(x, z) - log q(z|x) for `n_samples` z ~ q(z|x) each: [n_samples, B], nats."""
        q_z_given_x = self.encoder(x, *conditions)
        q_z_given_x = q_z_given_x.expand((n_samples, *q_z_given_x.batch_shape))
        z = rsample(q_z_given_x)  # [S, B, z_dim]
        log_p_x = self.log_p_x(z, x, *conditions)
        # log w = log p(x|z) + log p(z) - log q(z|x)
        return log_p_x + self.p_z(*conditions).log_prob(z) - q_z_given_x.log_prob(z)

    def log_p_x(self, z: Tensor, x: Tensor, *conditions: Tensor) -> Tensor:
        """log p(x|z) for z [S, B, z_dim]: [S, B], nats."""
        # x, y ... repeated for each sample: [S * B, ...]; copies unless B = 1
        x, *conditions_each = (part.expand(len(z), *part.shape).flatten(0, 1) for part in (x, *conditions))
        return self.decoder(z.flatten(0, 1), *conditions_each).log_prob(x).view(z.shape[:2])

    def decode(self, z: Tensor, *conditions: Tensor) -> Distribution:
        """p(x|z), batch_shape (B,)."""
        return self.decoder(z, *conditions)

    def reconstruct(
        self, x: Tensor, *conditions: Tensor, sample_latents: bool = False, sample_images: bool = False
    ) -> Tensor:
        """Reconstructions of x, [B, *shape], from samples or means of q(z|x) and p(x|z)."""
        q_z_given_x = self.encode(x, *conditions)
        z = rsample(q_z_given_x) if sample_latents else q_z_given_x.mean
        p_x_given_z = like(self.decode(z, *conditions), x)
        return p_x_given_z.sample() if sample_images else p_x_given_z.mean

    def sample(self, n_samples: int, sample_images: bool = False) -> Tensor:
        """[n_samples, *shape]: samples or means of p(x|z), for z ~ p(z)."""
        p_x_given_z = self.decode(self.sample_prior(n_samples))
        return p_x_given_z.sample() if sample_images else p_x_given_z.mean


class MeanClassifier(EncoderModel):
    """Models that predict y from the mean z of q(z|x); a subclass defines the loss.

    The encoder's scales are not used and not trained.

    Args:
        encoder: q(z|x), of which only the mean is used.
        predictor: p(y|z), a Categorical; for numbers y a Normal, for several labels Bernoullis.

    Raises:
        UserError: the networks disagree on z_dim.
    """

    needs: tuple[str, ...] = ("x", "y")

    def __init__(self, encoder: ConditionalDistribution, predictor: ConditionalDistribution) -> None:
        super().__init__()
        check_z_dim(encoder=encoder, predictor=predictor)
        self.encoder = encoder
        self.predictor = predictor

    def encode(self, x: Tensor, *conditions: Tensor) -> Distribution:
        """All mass at the mean of q(z|x), batch_shape (B,)."""
        return Delta(self.encoder(x).mean)

    def predict(self, x: Tensor) -> Tensor:
        """log p(y|z) [B, n_classes] at the mean z of q(z|x), or of each label [B, K]; for numbers y their mean."""
        return prediction(self.predictor(self.encoder(x).mean))


class StochasticClassifier(EncoderModel):
    """Models that predict y from z ~ q(z|x); a subclass defines the loss.

    Args:
        encoder: q(z|x).
        predictor: p(y|z), a Categorical, or as in `MeanClassifier`; takes z [S, B, z_dim].
        n_samples: samples of z for each x in the loss.
        n_samples_predict: samples of z over which `predict` averages the probabilities of the classes.

    Raises:
        UserError: a number is out of range, or the networks disagree on z_dim.
    """

    needs = ("x", "y")

    def __init__(
        self,
        encoder: ConditionalDistribution,
        predictor: ConditionalDistribution,
        n_samples: int,
        n_samples_predict: int,
    ) -> None:
        super().__init__()
        at_least(1, n_samples=n_samples, n_samples_predict=n_samples_predict)
        check_z_dim(encoder=encoder, predictor=predictor)
        self.encoder = encoder
        self.predictor = predictor
        self.n_samples = n_samples
        self.n_samples_predict = n_samples_predict

    def cross_entropy(self, batch: Batch) -> tuple[Tensor, Distribution, Tensor]:
        """The mean of -log p(y|z), shape (); with q(z|x) and its samples z [S, B, z_dim]."""
        q_z_given_x = self.encoder(batch["x"])
        z = rsample(q_z_given_x, (self.n_samples,))
        return -self.predictor(z).log_prob(batch["y"]).mean(), q_z_given_x, z

    def predict(self, x: Tensor) -> Tensor:
        """log p(y|x) [B, n_classes]: p(y|x) is the mean of p(y|z) over `n_samples_predict` samples of q(z|x).

        Of labels [B, K]; for numbers the mean of p(y|x).
        """
        q_z_given_x = self.encoder(x)
        # One sample at a time: all at once would hold n_samples_predict x B x z_dim numbers
        return mean_prediction([self.predictor(rsample(q_z_given_x)) for _ in range(self.n_samples_predict)])


class EnvironmentModel(MeanClassifier):
    """Models that predict y from the mean z of q(z|x) in several environments; a subclass defines the loss.

    Environments are those of the rows of all ranks. One that has no row in a batch does not count in its loss.

    Args:
        encoder: q(z|x), of which only the mean is used.
        predictor: p(y|z), a Categorical; for numbers y a Normal, for several labels Bernoullis.
        n_envs: the number of environments: 'env' of a batch is 0 .. n_envs - 1.

    Raises:
        UserError: n_envs is not known or below 1, or the networks disagree on z_dim.
    """

    needs = ("x", "y", "env")

    def __init__(
        self, encoder: ConditionalDistribution, predictor: ConditionalDistribution, n_envs: int | None
    ) -> None:
        super().__init__(encoder, predictor)
        if n_envs is None:
            raise UserError("n_envs=None: the data do not say how many environments they have: set model.n_envs")
        at_least(1, n_envs=n_envs)
        self.n_envs = n_envs

    def by_environment(self, values: Tensor, env: Tensor) -> tuple[Tensor, Tensor]:
        """The mean of values [B, ...] over the rows of each environment, [E, ...], and 1 if it has rows, else 0: [E].

        Without rows the mean is 0.
        """
        values, env = all_rows(values), all_rows(env)
        belongs = (env == torch.arange(self.n_envs, device=env.device).unsqueeze(1)).to(values.dtype)  # [E, N]
        share = belongs / belongs.sum(1, keepdim=True).clamp(min=1)
        means = (share.reshape(*share.shape, *[1] * (values.dim() - 1)) * values).sum(1)
        return means, belongs.amax(1)


class EnvironmentGradientModel(EnvironmentModel):
    """Models that compare the gradients of the environments' risks; a subclass defines the loss."""

    vectorisable = False  # torch.autograd.grad cannot be stacked, and torch.func allows no batch normalisation

    def risks_and_gradients(self, batch: Batch, differentiable: bool) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """R_e, the mean of -log p(y|z) in e, [E]; 1 if e has rows, else 0, [E]; and the gradients of R_e.

        The gradients have the names of the parameters and the shape [E, *parameter]. Frozen parameters have none. An
        environment without rows has zeros.

        Args:
            batch: with 'x', 'y' and 'env'.
            differentiable: whether the gradients can be differentiated.
        """
        env = batch["env"]
        belongs = (env == torch.arange(self.n_envs, device=env.device).unsqueeze(1)).float()  # [E, B]
        counts = sum_over_ranks(belongs.sum(1))
        moving = {name: parameter for name, parameter in self.named_parameters() if parameter.requires_grad}
        with torch.enable_grad():
            log_p = self.predictor(self.encoder(batch["x"]).mean).log_prob(batch["y"])
            parts = -(belongs * log_p).sum(1) / counts.clamp(min=1)  # what this rank's rows give to each R_e
            each = [
                torch.autograd.grad(
                    part,
                    list(moving.values()),
                    retain_graph=True,
                    create_graph=differentiable,
                    materialize_grads=True,  # zeros for parameters that p(y|z) does not use
                )
                for part in parts
            ]
        gradients = {name: torch.stack(found) for name, found in zip(moving, zip(*each, strict=True), strict=True)}
        # their sums over ranks, which have the gradients that one process has
        totals = {name: all_rows(part.unsqueeze(0)).sum(0) for name, part in gradients.items()}
        return all_rows(parts.unsqueeze(0)).sum(0), (counts > 0).float(), totals


def prediction(p_y_given_z: Distribution) -> Tensor:
    """log p(y|z) of each class, or of each of several labels, [B, K]; for numbers y the mean of p(y|z), like y."""
    if isinstance(p_y_given_z, Categorical):
        return p_y_given_z.logits
    if isinstance(p_y_given_z, IndependentBernoulli):
        return F.logsigmoid(p_y_given_z.base_dist.logits)
    return p_y_given_z.mean


def mean_prediction(p_y_given_z: Sequence[Distribution]) -> Tensor:
    """`prediction` by the mean of several p(y|z): of probabilities, or of means of numbers."""
    found = torch.stack([prediction(one) for one in p_y_given_z])
    if isinstance(p_y_given_z[0], Categorical | IndependentBernoulli):
        return found.logsumexp(0) - math.log(len(found))
    return found.mean(0)


def rescaled(loss: Tensor, weight: Tensor) -> Tensor:
    """A loss divided by the weight of its penalty where that is above 1, so that gradients keep their size."""
    return loss / weight.clamp(min=1)


class QuantisedModel(EncoderModel):
    """Autoencoders with discrete latents; a subclass defines its codes and the loss.

    z_e is [B, D] or a map [B, D, *where]. Each of its vectors of length D is replaced by one of `n_codes` codes, whose
    indices are [B, *where].

    Args:
        encoder: q(z|x), whose mean is z_e(x), before it is quantised.
        decoder: p(x|z), z of z_e's shape.
        z_dim: D.

    Raises:
        UserError: the networks have another z_dim.
    """

    n_codes: int

    def __init__(self, encoder: ConditionalDistribution, decoder: ConditionalDistribution, z_dim: int) -> None:
        super().__init__()
        self.z_dim = z_dim
        check_z_dim(encoder=encoder, decoder=decoder, codes=self)
        self.encoder = encoder
        self.decoder = decoder

    def quantised(self, z_e: Tensor) -> tuple[Tensor, Tensor]:
        """z_q, the codes that replace the vectors of z_e, with a gradient for z_e; and their indices [B, *where]."""
        raise NotImplementedError

    def codes(self, indices: Tensor) -> Tensor:
        """The codes that have these indices, [*indices.shape, D]."""
        raise NotImplementedError

    def quantise(self, x: Tensor) -> Tensor:
        """The indices of the codes of x, [B, *where] in 0 .. n_codes - 1."""
        return self.quantised(self.encoder(x).mean)[1]

    def encode(self, x: Tensor, *conditions: Tensor) -> Distribution:
        """All mass at the codes of x, flat: event_shape (D * where,)."""
        return Delta(self.quantised(self.encoder(x).mean)[0].flatten(start_dim=1))

    def reconstruct(self, x: Tensor, sample_latents: bool = False, sample_images: bool = False) -> Tensor:
        """Reconstructions of x, [B, *shape]: samples or means of p(x|z) at its codes."""
        p_x_given_z = self.decoder(self.quantised(self.encoder(x).mean)[0])
        return p_x_given_z.sample() if sample_images else p_x_given_z.mean


def straight_through(z: Tensor, z_q: Tensor) -> Tensor:
    """z_q exactly, with the gradient of z."""
    return z_q.detach() + (z - z.detach())


def discriminate(real: Tensor, fake: Tensor) -> dict[str, Tensor]:
    """A discriminator's 'loss' -E[log D(real)] - E[log(1 - D(fake))], of its logits; nats, and the means of D."""
    # -log D = softplus(-d), -log(1 - D) = softplus(d)
    loss = F.softplus(-real).mean() + F.softplus(fake).mean()
    return {"loss": loss, "D_real": real.sigmoid().mean(), "D_fake": fake.sigmoid().mean()}


def check_z_dim(**networks: nn.Module) -> None:
    """Raises UserError if the named networks that have a `z_dim` do not agree on it."""
    check_same("z_dim", **networks)


def check_same(size: str, **networks: nn.Module) -> None:
    """Raises UserError if the named networks that have an attribute called `size` do not agree on it."""
    sizes = {name: getattr(network, size) for name, network in networks.items() if hasattr(network, size)}
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{name} {value}" for name, value in sizes.items())
        first = next(iter(sizes.values()))
        raise UserError(f"{size} differs ({listed}): give all of them the same, such as params.{size}={first}")
