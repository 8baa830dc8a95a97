"""The interface of evaluations: each asks a model for capabilities, never for its class, and returns a `LogEntry`."""

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.distributions import Distribution

from frame.common.errors import NoNumber, TooFew, UserError, choices
from frame.common.ranks import alone
from frame.data.base import Batch, DataSet, mapped, whole_batch
from frame.evaluation.shards import dealt, seed_chunk, seeded
from frame.measures.scores import kind_of

# `x` below stands for the keys of a batch that `model.inputs` names, in that order: a conditional model takes x and y


@runtime_checkable
class Encodes(Protocol):
    def encode(self, x: Tensor) -> Distribution:
        """q(z|x), batch_shape (B,), event_shape (z_dim,)."""
        ...


@runtime_checkable
class Reconstructs(Protocol):
    def reconstruct(self, x: Tensor, sample_latents: bool = False, sample_images: bool = False) -> Tensor:
        """Reconstructions of x, [B, *shape] in [0, 1], from samples or means of q(z|x) and p(x|z)."""
        ...


@runtime_checkable
class Samples(Protocol):
    def sample(self, n_samples: int, sample_images: bool = False) -> Tensor:
        """[n_samples, *shape] in [0, 1] from the model's own distribution."""
        ...


@runtime_checkable
class Decodes(Protocol):
    def decode(self, z: Tensor) -> Distribution:
        """p(x|z), batch_shape (B,)."""
        ...


@runtime_checkable
class Predicts(Protocol):
    def predict(self, x: Tensor) -> Tensor:
        """Log-probabilities of the classes [B, n_classes], or of each label [B, K]; numbers as they are expected, [B]
        or [B, K]."""
        ...


@runtime_checkable
class BoundsLikelihood(Protocol):
    def log_likelihood_bound(self, x: Tensor) -> dict[str, Tensor]:
        """'elbo', 'distortion' and 'rate', each [B], nats: elbo = -distortion - rate; the KL has weight 1 always."""
        ...


@runtime_checkable
class WeighsSamples(Protocol):
    def log_weights(self, x: Tensor, n_samples: int) -> Tensor:
        """log p(x, z) - log q(z|x) for `n_samples` z ~ q(z|x) each: [n_samples, B], nats."""
        ...


@runtime_checkable
class HasFeatures(Protocol):
    def features(self, x: Tensor) -> Tensor:
        """The encoder's layer before its output, [B, n]."""
        ...


@runtime_checkable
class EstimatesInformation(Protocol):
    def information(self, x: Tensor, y: Tensor) -> Tensor:
        """An estimate of I(x; y) from paired rows [B, ...], shape (), nats."""
        ...


@runtime_checkable
class HasPrior(Protocol):
    def sample_prior(self, n_samples: int) -> Tensor:
        """z ~ p(z), [n_samples, z_dim]."""
        ...


class Unsuited(UserError):
    """A model or data cannot serve an evaluation.

    Args:
        what: the message, which names the evaluation and what it lacks.
        capabilities: sets of protocols; a model with all of one set could serve.
        key: data whose batches have this key could serve; '' if that is not what is missing.
    """

    def __init__(self, what: str, *, capabilities: Sequence[Sequence[type]] = (), key: str = "") -> None:
        super().__init__(what)
        self.capabilities, self.key = capabilities, key


def methods_of(capability: type) -> list[str]:
    """The names of a protocol's methods."""
    return sorted(name for name in vars(capability) if not name.startswith("_"))


Better = Literal["more", "less", ""]


@dataclass
class Scalar:
    """A number, its unit and how it was estimated."""

    value: float
    unit: str = ""
    n_samples: int | None = None
    estimator: str = ""
    standard_error: float | None = None
    layer: str = ""  # of the measured code: 'mean', 'sample' or 'features'; empty if there is none
    interval: tuple[float, float] | None = None  # 95 %, if more is known than the standard error
    bound: str = ""  # 'lower', 'upper', or 'neither' for an estimate that is no bound; empty for the number itself
    saturated: bool = False  # near the estimator's maximum: the truth may be far larger
    better: Better = "more"  # which values comparisons rank first; empty if neither
    width: int | None = None  # dimensions of the measured code


@dataclass
class LogEntry:
    """What one evaluation found. The key '' stands for the evaluation's own name; 'rate' for '<name>/rate'.

    Figures are `matplotlib.figure.Figure` objects made without pyplot, so that they need not be closed.
    """

    split: str
    scalars: dict[str, Scalar] = field(default_factory=dict)
    images: dict[str, np.ndarray] = field(default_factory=dict)  # [H, W, 3] uint8
    figures: dict[str, Figure] = field(default_factory=dict)
    tables: dict[str, tuple[list[str], list[list[Any]]]] = field(default_factory=dict)

    def check(self) -> None:
        """Raises NoNumber if a number is NaN."""
        for key, scalar in self.scalars.items():
            if math.isnan(scalar.value):
                raise NoNumber(f"{key or 'the value'} is NaN: the model has diverged, or the evaluation divides by 0")

    def names(self, name: str) -> set[str]:
        """All names under which an evaluation of this name writes something."""
        return {full_name(name, key) for key in (*self.scalars, *self.images, *self.figures, *self.tables)}


def is_picture(x: Any) -> bool:
    """Whether a batch [B, C, H, W] of one or three channels can be drawn."""
    return isinstance(x, Tensor) and x.dim() == 4 and x.shape[1] in (1, 3)


def is_series(x: Any) -> bool:
    """Whether a batch [B, C, T] of floats can be drawn as lines."""
    return isinstance(x, Tensor) and x.dim() == 3 and x.is_floating_point()


def full_name(name: str, key: str) -> str:
    """The name under which a `LogEntry`'s key is logged by the evaluation of this name."""
    return f"{name}/{key}" if key else name


@dataclass(frozen=True)
class Declaration:
    """What an evaluation can find, known before it runs. Keys are those of its `LogEntry`."""

    split: str
    numbers: Mapping[str, str]  # units by key
    pictures: Collection[str] = ()  # images and figures
    tables: Collection[str] = ()

    def names(self, name: str) -> set[str]:
        """All names under which an evaluation of this name writes something."""
        return {full_name(name, key) for key in (*self.numbers, *self.pictures, *self.tables)}


class Evaluation:
    """A measurement or a picture of a model on one split of its data.

    `needs` names the capabilities (protocols above) that the model must have, and `needs_data` the keys that the batch
    must have. `hidden` names keys that are predicted from the model's output, so that they must not be its inputs.
    An evaluation is called in eval mode, without gradients, and with the same random seed each time; the caller
    restores all three. In a run of several processes all ranks call it, with rank 0's buffers; what it computes by
    `over_rows` is shared between them, and rank 0's result is logged.

    `numbers`, `pictures` and `tables` declare what is found, by the keys of the `LogEntry`: one number under the
    evaluation's own name, unless a subclass says otherwise. Override `declare` if it depends on the model or the data.
    """

    needs: tuple[type, ...] = ()
    needs_data: tuple[str, ...] = ("x",)
    hidden: tuple[str, ...] = ()
    numbers: Mapping[str, str] = {"": ""}  # units by key
    pictures: Collection[str] = ()
    tables: Collection[str] = ()
    draws: bool = False  # rows as pictures
    draws_series: bool = False  # rows that are series, as lines
    kinds: tuple[str, ...] = ("classes",)  # what a 'y' that is needed may be: classes, labels or numbers
    fits_on: Collection[str] = ()  # splits, named by the user, on which the evaluation fits something

    def __init__(self, evaluate_on: str = "valid") -> None:
        self.evaluate_on = evaluate_on

    def evaluate(self, model: nn.Module, data: DataSet) -> LogEntry:
        raise NotImplementedError

    def declare(self, model: nn.Module, data: DataSet) -> Declaration:
        """What `evaluate` can find for this model and these data, which have passed `check`.

        So the names that can be monitored or optimized are known before anything is measured. A number is declared with
        the unit of its `Scalar`. Called without gradients and in eval mode.
        """
        return Declaration(self.evaluate_on, self.numbers, self.pictures, self.tables)

    def check(self, model: nn.Module, data: DataSet) -> None:
        """Raises Unsuited if the model or the data cannot serve; it names both."""
        for capability in self.needs:
            if not isinstance(model, capability):
                raise Unsuited(
                    f"{type(self).__name__} needs a model that has {', '.join(methods_of(capability))}(); "
                    f"{type(model).__name__} has none",
                    capabilities=[self.needs],
                )
        if self.evaluate_on not in data.splits:
            why = data.absent.get(self.evaluate_on) or choices(self.evaluate_on, data.splits, kind="split")
            raise Unsuited(f"{type(self).__name__}: {why}")
        row = whole_batch(data.split(self.evaluate_on), torch.arange(1))
        taken = getattr(model, "inputs", ()) if self.needs else ()
        for key in set(self.hidden) & set(getattr(model, "inputs", ())):
            raise Unsuited(f"{type(self).__name__} predicts '{key}', which {type(model).__name__} is given")
        for key in dict.fromkeys((*self.needs_data, *taken)):
            if key not in row:
                raise Unsuited(
                    f"{type(self).__name__} needs '{key}' in the data; {type(data).__name__} has only: "
                    f"{', '.join(sorted(row))}",
                    key=key,
                )
        if "y" in self.needs_data and (kind := kind_of(row["y"])) not in self.kinds:
            holds = "several labels a row" if kind == "labels" else kind
            needs = " or ".join(self.kinds)
            raise Unsuited(f"{type(self).__name__} needs {needs}; 'y' of {type(data).__name__} holds {holds}")
        drawn = is_picture(row.get("x")) or self.draws_series and is_series(row.get("x"))
        if self.draws and "x" in row and not drawn:
            also = ", or series [C, T]" if self.draws_series else ""
            raise Unsuited(
                f"{type(self).__name__} draws rows of 1 or 3 channels, [C, H, W]{also}; those of {type(data).__name__} "
                f"are {list(row['x'].shape[1:])}"
            )

    def batches(
        self, model: nn.Module, data: DataSet, n_samples: int | None, batch_size: int = 1024, split: str | None = None
    ) -> Iterator[Batch]:
        """Like the function `batches`, on the evaluation's own split unless another is named."""
        return batches(model, data, split or self.evaluate_on, n_samples, batch_size)

    def over_rows(
        self,
        model: nn.Module,
        data: DataSet,
        n_samples: int | None,
        compute: Callable[[Batch], dict[str, Tensor]],
        batch_size: int = 1024,
        at_once: int | None = None,
    ) -> dict[str, Tensor]:
        """Like the function `over_rows`, on the evaluation's own split."""
        return over_rows(model, data, self.evaluate_on, n_samples, compute, batch_size, at_once)


def batches(
    model: nn.Module, data: DataSet, split: str, n_samples: int | None, batch_size: int = 1024
) -> Iterator[Batch]:
    """The same `n_samples` rows of the split each time (all of it if None or more), on the model's device.

    Rows are a fixed random subset, since files are often sorted; their binarization is fixed, too. In a run of several
    processes, each of them reads all rows; `over_rows` shares the work.
    """
    read = _reader(model, data, split)
    for number, indices in enumerate(_order(data, split, n_samples).split(batch_size)):
        yield read(indices, number)


def over_rows(
    model: nn.Module,
    data: DataSet,
    split: str,
    n_samples: int | None,
    compute: Callable[[Batch], dict[str, Tensor]],
    batch_size: int = 1024,
    at_once: int | None = None,
    seed: int = 0,
) -> dict[str, Tensor]:
    """What `compute` finds in each of the `batches`, concatenated, [N, ...] on the CPU.

    In a run of several processes, the batches are dealt to ranks, and all ranks receive the whole. The noise in each is
    seeded by its number, so that one process finds the same.

    Args:
        model, data, split, n_samples, batch_size: as `batches` takes them.
        compute: gives tensors by name, the same names for each batch: [B, ...], or [1, ...] for the whole batch.
        at_once: a batch is dealt in pieces of so many rows, for work that takes long for each row.
        seed: another seed gives other noise.

    Raises:
        TooFew: the split has no rows.
    """
    read, parts = _reader(model, data, split), _order(data, split, n_samples).split(batch_size)
    if not len(parts[0]):
        raise TooFew(f"'{split}' has no rows")
    chunks = [  # the batch, and the rows of it
        (number, start, min(start + (at_once or batch_size), len(part)))
        for number, part in enumerate(parts)
        for start in range(0, len(part), at_once or batch_size)
    ]
    last: tuple[int, Batch] | None = None  # the batch that was read last

    def of(chunk: int) -> dict[str, Tensor]:
        nonlocal last
        number, start, end = chunks[chunk]
        if last is None or last[0] != number:
            last = None  # frees its memory
            seed_chunk(-1, number)  # some sources draw from torch's own generator
            last = number, read(parts[number], number)
            seed_chunk(seed, chunk)
        batch = last[1]
        return compute(batch if at_once is None else mapped(batch, lambda rows: rows[start:end]))

    return dealt([end - start for _, start, end in chunks], of, seed)


def _order(data: DataSet, split: str, n_samples: int | None) -> Tensor:
    """The rows that are read, in their order."""
    return torch.randperm(len(data.split(split)), generator=torch.Generator().manual_seed(0))[:n_samples]


def _reader(model: nn.Module, data: DataSet, split: str) -> Callable[[Tensor, int], Batch]:
    """Reads the rows of a numbered batch to the model's device."""
    source, device = data.split(split), device_of(model)
    return lambda indices, number: whole_batch(source, indices, seed=number, device=device)


def device_of(model: nn.Module) -> torch.device:
    """The device of the model's parameters; the CPU if it has none."""
    return next((p.device for p in model.parameters()), torch.device("cpu"))


def given(model: nn.Module, batch: Batch) -> list[Any]:
    """What a model's capabilities take from a batch: x, and what the model is conditioned on."""
    return [batch[key] for key in getattr(model, "inputs", ("x",))]


def check_densities(evaluation: Evaluation, model: nn.Module, measure: Callable[[], object]) -> None:
    """Raises Unsuited if `measure` asks for a density that a distribution of the model lacks, as without noise."""
    with evaluating(model):
        try:
            measure()
        except NotImplementedError:
            name = type(model).__name__
            raise Unsuited(
                f"{type(evaluation).__name__} needs densities: q(z|x) or p(x|z) of {name} has none"
            ) from None
        except (RuntimeError, ValueError, IndexError, TypeError):  # the dry run names the network that does not fit
            return


@contextmanager
def evaluating(model: nn.Module, seed: int = 0) -> Iterator[None]:
    """Eval mode, no gradients, random state from `seed`; restores each module's mode and the random state.

    Nothing that a model shares with other ranks while it trains is shared: they may be at work on something else.
    """
    modes = [(module, module.training) for module in model.modules()]
    with seeded(seed), torch.no_grad(), alone():
        model.eval()
        try:
            yield
        finally:
            for module, mode in modes:
                module.training = mode
