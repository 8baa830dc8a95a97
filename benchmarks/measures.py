"""The costs of measures on arrays, and of encoding compared with its matrix products.

    python benchmarks/measures.py                    all of them: about 6 minutes on 2 cores, 4 of them DCI
    python benchmarks/measures.py knn mig --quick    two of them, on a twentieth of the rows

Codes are random, factors have as many values as those of dSprites, and pictures have the size of MNIST's. 'CPU' is
the time in all threads and processes. Unlike 'wall' it hardly changes on a busy machine.
"""

import argparse
import resource
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from frame.architectures.base import DiagonalNormal
from frame.architectures.MNIST import Decoder, Encoder
from frame.data.base import DataSet, Source
from frame.data.memory import InMemory
from frame.evaluation.base import evaluating
from frame.evaluation.codes import codes_of
from frame.evaluation.elbo import ELBOEvaluation
from frame.evaluation.likelihood import IWAEBoundEvaluation
from frame.measures.factor_scores import beta_vae_score, factor_vae_score
from frame.measures.factors import dci, mig, modularity, sap
from frame.measures.geometry import effective_rank
from frame.measures.linear_probe import logistic_regression
from frame.measures.neighbours import nearest_neighbour_accuracy
from frame.models.VAE import VAE

VALUES = (3, 6, 40, 32, 32)  # numbers of values of dSprites' factors
ROUNDS = 7  # runs of each side of a ratio


class Pictures(DataSet):
    """Random grey pictures as 'test', drawn as 0 or 1."""

    splits = ("test",)

    def __init__(self, n: int) -> None:
        super().__init__()
        self.n = n

    def load(self, split: str) -> Source:
        return InMemory(torch.randint(0, 256, (self.n, 1, 28, 28), dtype=torch.uint8), binarize="dynamic")


def factors_and_codes(n: int) -> tuple[Tensor, Tensor]:
    """[N, 10] codes, the first five of which are factors with a little noise, and the factors [N, 5]."""
    factors = torch.stack([torch.randint(0, k, (n,)) for k in VALUES], 1)
    codes = torch.randn(n, 10)
    codes[:, :5] = factors / torch.tensor(VALUES) + 0.02 * codes[:, :5]
    return codes, factors


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """CPU and wall."""
    began, cpu = time.perf_counter(), _cpu()
    work()
    return _cpu() - cpu, time.perf_counter() - began


def _cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def products(encoder: nn.Module, x: Tensor) -> None:
    """The encoder's matrix products alone, on batches of the evaluations' size."""
    weights = [p.T for p in encoder.parameters() if p.dim() == 2]
    for rows in x.split(1024):
        for weight in weights:
            rows = torch.relu(rows @ weight)


def encoding(n: int) -> str:
    """Seconds of `codes_of` over seconds of the products, paired: median and range of the ratios over rounds."""
    data, encoder = Pictures(n), Encoder(64, [1024, 128])
    model = VAE(encoder, Decoder(64, [128, 1024]), DiagonalNormal(64), beta=1.0)
    x = data.split("test").batch(torch.arange(n))["x"].flatten(1).float()
    sides: tuple[Callable[[], object], ...] = (partial(codes_of, model, data, "test"), partial(products, encoder, x))
    ratios = []
    with torch.no_grad():
        for _ in range(ROUNDS + 1):  # the first warms up
            ours, bare = (seconds(side)[0] for side in sides)
            ratios.append(ours / bare)
    ratios = sorted(ratios[1:])
    return f"{ratios[ROUNDS // 2]:.2f} ({ratios[0]:.2f}–{ratios[-1]:.2f}) times the CPU of its products"


def measures(part: float, jobs: int) -> dict[str, tuple[str, Callable[[], object]]]:
    """By name: a description of the arrays, and the function that is timed, on arrays drawn before."""

    def n(rows: int) -> int:
        return max(1000, int(rows * part))

    model = VAE(Encoder(50, [200, 200]), Decoder(50, [200, 200]), DiagonalNormal(50), beta=1.0)
    codes, factors = factors_and_codes(n(10_000))
    more, of_more = factors_and_codes(n(15_000))

    def elbo() -> object:
        with evaluating(model):
            return ELBOEvaluation("test").evaluate(model, pictures)

    def bound() -> object:
        with evaluating(model):
            return IWAEBoundEvaluation("test", n_samples=n_bound).evaluate(model, pictures)

    n_bound = max(10, int(200 * part))
    pictures = Pictures(2048)
    pictures.split("test")
    bank, queries = torch.randn(n(50_000), 512), torch.randn(n(10_000), 512)
    classes = torch.randint(0, 10, (n(50_000),))
    rows = torch.randn(n(50_000), 128) + torch.nn.functional.one_hot(classes, 128)
    dims = f"{len(codes):,} codes of 10 dimensions"
    return {
        "elbo": ("2,048 pictures of MNIST's size", elbo),
        "iwae": (f"{n_bound} pictures x 5,000 samples", bound),
        "knn": (
            f"{len(queries):,} among {len(bank):,} x 512",
            lambda: nearest_neighbour_accuracy(bank, classes, queries, classes[: len(queries)], 200, "cosine", 0.1),
        ),
        "linear_probe": (f"{len(rows):,} x 128, five C", lambda: logistic_regression(rows, classes)),
        "mig": (dims, lambda: mig(codes, factors)),
        "sap": (dims, lambda: sap(codes, factors)),
        "modularity": (dims, lambda: modularity(codes, factors)),
        "factor_vae_score": (dims, lambda: factor_vae_score(codes, factors)),
        "beta_vae_score": (dims, lambda: beta_vae_score(codes, factors)),
        "effective_rank": (dims, lambda: effective_rank(codes)),
        "dci": (
            f"{len(more):,} codes, two thirds fitted, {jobs} processes",
            lambda: dci(more, of_more, n_jobs=jobs),
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="measures; all of them by default, and encoding")
    parser.add_argument("--quick", action="store_true", help="a twentieth of the rows: only a test that it works")
    parser.add_argument("--jobs", type=int, default=2, help="processes of dci")
    options = parser.parse_args()
    torch.manual_seed(0)
    part = 0.05 if options.quick else 1.0
    there = measures(part, options.jobs)
    wanted = options.names or [*there, "encoding"]
    unknown = set(wanted) - {*there, "encoding"}
    if unknown:
        parser.error(f"no measure {', '.join(sorted(unknown))}: choose from {', '.join([*there, 'encoding'])}")
    print(f"{torch.get_num_threads()} threads; torch {torch.__version__}\n")
    print("| measure | on | CPU, s | wall, s |\n|---|---|---|---|")
    for name in wanted:
        if name == "encoding":
            print(
                f"| encoding | {int(50_000 * part):,} pictures, 784-1024-128-128 | {encoding(int(50_000 * part))} | |"
            )
        else:
            on, work = there[name]
            cpu, wall = seconds(work)
            print(f"| {name} | {on} | {cpu:.3g} | {wall:.3g} |", flush=True)


if __name__ == "__main__":
    main()
