"""Chunks are dealt to ranks, here one after the other in one process; errors reach all of them."""

import warnings

import pytest
import torch
from torch import Tensor, nn

from frame.architectures.base import DiagonalNormal
from frame.common.errors import NoNumber, UserError
from frame.common.ranks import sum_over_ranks
from frame.data.base import Batch, DataSet, Source
from frame.evaluation import shards
from frame.evaluation.accuracy import AccuracyEvaluation
from frame.evaluation.base import Evaluation, LogEntry, evaluating, over_rows
from frame.evaluation.code_information import CodeInformationEvaluation
from frame.evaluation.elbo import ELBOEvaluation
from frame.evaluation.generation import GenerationEvaluation
from frame.evaluation.likelihood import IWAEBoundEvaluation
from frame.evaluation.linear_probe import LinearProbeEvaluation
from frame.evaluation.ood import OODEvaluation
from frame.evaluation.prior_match import PriorMatchEvaluation
from frame.evaluation.reconstruction_error import ReconstructionErrorEvaluation
from frame.evaluation.shards import dealt, once, seed_chunk
from frame.evaluation.total_correlation import TotalCorrelationEvaluation
from frame.evaluation.traversals import LatentTraversalEvaluation
from frame.models.VAE import VAE
from tests import digits
from tests.ranks import on_ranks
from tests.slow import slow_but


def test_more_than_the_memory_is_refused_before_it_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "limit", lambda: 8000)
    assert len(dealt([10] * 10, lambda i: {"x": torch.ones(10, 10)})["x"]) == 100
    with pytest.raises(NoNumber, match="^101 rows of 10 numbers take 4.04 KB, more than half of the memory: .*n_bank"):
        dealt([10] * 10 + [1], lambda i: {"x": torch.ones(10, 10)})


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("sizes", [[4], [4, 4], [4, 4, 1], [4, 4, 4, 4, 4, 4, 2], [3, 1, 3, 1]])
def test_each_chunk_is_computed_once_and_all_ranks_have_all(sizes: list[int], world: int) -> None:
    computed: dict[int, list[int]] = {}

    def of(rank: int) -> tuple[dict[str, Tensor], Tensor]:
        computed[rank] = []

        def compute(i: int) -> dict[str, Tensor]:
            computed[rank].append(i)
            return {"noise": torch.rand(sizes[i], 2), "sum": torch.full((1,), i), "y": torch.full((sizes[i],), i)}

        torch.manual_seed(7)
        return dealt(sizes, compute, seed=5), torch.rand(3)

    slow: list[Tensor] = []
    for i, size in enumerate(sizes):
        seed_chunk(5, i)
        slow.append(torch.rand(size, 2))
    torch.manual_seed(7)
    after = torch.rand(3)
    for found in on_ranks(world, of):
        assert not isinstance(found, BaseException), found
        assert torch.equal(found[0]["noise"], torch.cat(slow))
        assert found[0]["sum"].tolist() == list(range(len(sizes)))
        assert found[0]["y"].tolist() == [i for i, size in enumerate(sizes) for _ in range(size)]
        assert torch.equal(found[1], after), "the noise of chunks must not change what is drawn afterwards"
    assert computed == {rank: list(range(rank, len(sizes), world)) for rank in range(world)}


def test_noise_of_a_chunk_is_that_of_no_small_seed() -> None:
    """Else codes z = mean + std * eps and prior samples, drawn from the evaluation's own seed, would share eps."""
    seen = set()
    for seed in range(-1, 5):
        for chunk in range(5):
            seed_chunk(seed, chunk)
            seen.add(torch.rand(1, dtype=torch.float64).item())
    for seed in range(50):
        torch.manual_seed(seed)
        seen.add(torch.rand(1, dtype=torch.float64).item())
    assert len(seen) == 6 * 5 + 50


def test_once_is_computed_on_rank_0_alone() -> None:
    asked: list[int] = []

    def of(rank: int) -> list[int]:
        asked.append(rank)
        return once(lambda: [rank, 5])

    assert on_ranks(3, of) == [[0, 5]] * 3


class NotPicklable(Exception):
    def __init__(self, a: int, b: int) -> None:
        super().__init__("cannot be made again")


@pytest.mark.parametrize(
    ("error", "arrives"),
    [
        (NoNumber("codes are equal"), NoNumber),
        (RuntimeError("out of memory"), RuntimeError),
        (NotPicklable(1, 2), RuntimeError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
    ids=lambda e: getattr(e, "__name__", type(e).__name__),
)
@pytest.mark.parametrize("where", ["chunk", "between", "end", "once"])
def test_an_error_of_one_rank_is_raised_on_all(error: BaseException, arrives: type, where: str) -> None:
    fails_on = 0 if where == "once" else 1

    def of(rank: int) -> float:
        def fail(at: str) -> None:
            if at == where and rank == fails_on:
                raise error

        def compute(i: int) -> dict[str, Tensor]:
            fail("chunk")
            return {"": torch.ones(2)}

        total = dealt([2, 2], compute)[""].sum()
        fail("between")
        total += dealt([2, 2, 2], lambda i: {"": torch.ones(2)})[""].sum()
        once(lambda: fail("once"))
        fail("end")
        return float(total)

    for got in on_ranks(3, of):
        assert got is error or type(got) is arrives
        assert isinstance(got, BaseException) and (
            got is error or isinstance(got, UserError) or f"raised on rank {fails_on}" in got.__notes__[0]
        )


def test_what_rank_0_cannot_send_is_an_error_on_all() -> None:
    def of(rank: int) -> object:
        return once(lambda: lambda: 5)

    assert all(isinstance(found, BaseException) and "pickle" in str(found) for found in on_ranks(2, of))


def test_an_evaluation_that_goes_on_after_an_error_does_not_wait() -> None:
    """Rank 1 fails between two exchanges; rank 0 catches what it is told and asks for more."""

    def of(rank: int) -> int:
        if rank == 1:
            raise NoNumber("none here")
        for _ in range(2):
            try:
                dealt([1], lambda i: {"": torch.ones(1)})
            except NoNumber:
                continue
        return 3

    assert [str(found) for found in on_ranks(2, of)] == ["none here"] * 2


def test_an_error_in_a_chunk_can_be_caught_by_all() -> None:
    def of(rank: int) -> int:
        def compute(i: int) -> dict[str, Tensor]:
            raise NoNumber("none here")

        try:
            dealt([1], compute)
        except NoNumber:
            return len(dealt([1, 1], lambda i: {"": torch.ones(1)})[""])
        return 0

    assert on_ranks(2, of) == [2, 2]


@pytest.mark.parametrize("rows", [(1, 2), (1, 0)])
def test_ranks_that_do_different_things_are_told(rows: tuple[int, int]) -> None:
    def of(rank: int) -> int:
        return len(dealt([1] * rows[rank], lambda i: {"": torch.ones(1)})[""]) if rows[rank] else 0

    for found in on_ranks(2, of):
        assert isinstance(found, RuntimeError) and "differs between ranks (rank 0: 1 chunks of 1 rows" in str(found)


# Whole evaluations


class Rows(DataSet):
    """Grey pictures with labels, 1,100 of them: a batch of 1,024 and one of 76 rows; it notes what was read."""

    n_classes = 10

    def __init__(self, n: int = 1100) -> None:
        super().__init__()
        self.n, self.read = n, list[int]()

    def load(self, split: str) -> Source:
        return RowSource(self.n, self.read)


class RowSource:
    def __init__(self, n: int, read: list[int]) -> None:
        self.x = torch.rand(n, 1, 8, 8, generator=torch.Generator().manual_seed(5)).round(decimals=1)
        self.n, self.read = n, read

    def __len__(self) -> int:
        return self.n

    def batch(self, indices: Tensor) -> Batch:
        self.read += indices.tolist()
        return {"x": self.x[indices], "index": indices, "y": (self.x[indices].flatten(1).sum(1) * 3).long() % 10}

    def transform(self, batch: Batch, generator: torch.Generator) -> Batch:
        return {**batch, "x": torch.bernoulli(batch["x"], generator=generator)}


class Guesses(VAE):
    """A VAE that predicts, too, with noise."""

    def predict(self, x: Tensor) -> Tensor:
        scores = torch.cat([self.encode(x).mean.repeat(1, 3), torch.randn(len(x), 1)], 1)
        return scores.log_softmax(1)


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(0)
    return Guesses(digits.Encoder(3, [8]), digits.Decoder(3, [8]), DiagonalNormal(3), beta=0.1)


class Noise(nn.Module):
    def forward(self, x: Tensor, generator: torch.Generator) -> Tensor:
        return torch.bernoulli(torch.full_like(x, 0.5), generator=generator)


EVALUATIONS: list[Evaluation] = [
    ELBOEvaluation("valid"),
    AccuracyEvaluation("valid"),
    ReconstructionErrorEvaluation("valid", 600),
    IWAEBoundEvaluation("valid", 41, n_posterior_samples=100),
    CodeInformationEvaluation("valid"),
    TotalCorrelationEvaluation("valid"),
    PriorMatchEvaluation("valid"),
    OODEvaluation({"noise": Noise()}, "valid", n_samples=1050, n_bank=1030),
    LatentTraversalEvaluation("valid", n_samples=1100),
    LinearProbeEvaluation("valid", cs=(1.0,), layers=("mean",), floors=(), n_samples=1050),
    GenerationEvaluation("valid", 1100, features="pca"),
]


@pytest.mark.parametrize("evaluation", slow_but(EVALUATIONS[:-2], EVALUATIONS), ids=lambda e: type(e).__name__)
def test_ranks_find_what_one_process_finds(evaluation: Evaluation, model: nn.Module) -> None:
    data = Rows()

    def evaluate(rank: int = 0) -> LogEntry:
        with evaluating(model), warnings.catch_warnings():
            return evaluation.evaluate(model, data)

    alone = evaluate()
    for found in on_ranks(2, evaluate):
        assert isinstance(found, LogEntry), found
        assert found.scalars == alone.scalars and found.tables == alone.tables


@pytest.mark.parametrize("at_once", [None, 7])
@pytest.mark.parametrize("world", [1, 2, 3])
def test_a_rank_reads_only_what_it_computes(world: int, at_once: int | None, model: nn.Module) -> None:
    data = Rows(45)
    order = torch.randperm(45, generator=torch.Generator().manual_seed(0)).tolist()
    seen: dict[int, list[int]] = {}

    def of(rank: int) -> Tensor:
        data.read.clear()
        found = over_rows(model, data, "valid", 40, lambda b: {"i": b["index"], "x": b["x"]}, 16, at_once)
        seen[rank] = list(data.read)
        return found["i"]

    for found in on_ranks(world, of):
        assert isinstance(found, Tensor) and found.tolist() == order[:40]
    if at_once is None:
        parts = [order[:16], order[16:32], order[32:40]]
        assert seen == {rank: sum(parts[rank::world], []) for rank in range(world)}


def test_pictures_of_a_row_do_not_depend_on_pieces(model: nn.Module) -> None:
    whole, pieces = (
        over_rows(model, Rows(45), "valid", None, lambda b: {"x": b["x"]}, 16, at_once)["x"] for at_once in (None, 3)
    )
    assert torch.equal(whole, pieces)


def test_a_split_without_rows_has_no_number(model: nn.Module) -> None:
    with pytest.raises(NoNumber, match="'valid' has no rows"):
        over_rows(model, Rows(0), "valid", None, lambda batch: {})


def test_an_evaluation_shares_no_statistics_with_ranks_that_may_do_something_else(
    model: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    with evaluating(model):
        assert sum_over_ranks(torch.ones(1)).item() == 1


def test_outside_of_a_run_of_several_ranks_nothing_is_shared() -> None:
    assert shards.together(nn.Linear(1, 1), lambda: once(lambda: 5), 0, 1) == 5
