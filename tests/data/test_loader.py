"""The order, position and shards of batches, against their definitions."""

import itertools
import multiprocessing
import os
import random
import signal
import time
from multiprocessing import resource_sharer
from multiprocessing.connection import Client
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from frame.common.errors import Unread, UserError
from frame.data.base import Batch
from frame.data.loader import Loader, _Workers, mix
from frame.data.memory import InMemory
from frame.data.per_sample import PerSample


def numbered(n: int, binarize: str = "dynamic") -> InMemory:
    x = torch.arange(n * 6).view(n, 1, 2, 3).remainder(256).to(torch.uint8)
    return InMemory(x, torch.arange(n), binarize=binarize)


def seen(batches: Any) -> list[list[int]]:
    return [batch["index"].tolist() for batch in batches]


def same(a: Batch, b: Batch) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


class Noisy:
    """Rows whose items draw from all three random states."""

    def __init__(self, n: int = 22) -> None:
        self.n = n

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        return torch.tensor([i + random.random(), i + np.random.rand(), i + torch.rand(()).item()]), i


SHAPES = [(n, b, w) for n, b, w in itertools.product((1, 2, 7, 12, 33), (1, 3, 4, 50), (1, 2, 3)) if n >= w]


@pytest.mark.parametrize("n, batch_size, world", SHAPES)
def test_ranks_together_see_what_one_process_sees(n: int, batch_size: int, world: int) -> None:
    ranks = [seen(Loader(numbered(n), batch_size, 5, rank=rank, world=world)) for rank in range(world)]
    assert {len(batches) for batches in ranks} == {len(Loader(numbered(n), batch_size, world=world))}
    rows = [row for batches in ranks for batch in batches for row in batch]
    assert len(set(rows)) == len(rows) == n - n % world  # disjoint, and at most world - 1 rows left out
    alone = seen(Loader(numbered(n), batch_size * world, 5))
    for step, one in enumerate(alone[: len(ranks[0])]):
        together = [batches[step] for batches in ranks]
        assert len({len(batch) for batch in together}) == 1
        assert sorted(sum(together, [])) == sorted(one[: len(sum(together, []))])
        assert len(one) - len(sum(together, [])) < world


@pytest.mark.parametrize(
    "n, batch_size, limit", [(12, 4, None), (13, 4, None), (13, 4, 2), (3, 10, None), (20, 3, 0.5)]
)
def test_resume_at_every_position_continues_with_the_next_batch(n: int, batch_size: int, limit: Any) -> None:
    def loader() -> Loader:
        return Loader(numbered(n), batch_size, 3, limit=limit)

    whole = loader()
    three_epochs, states = [], [whole.state_dict()]
    for _ in range(3):
        for batch in whole:
            three_epochs.append(batch)
            states.append(whole.state_dict())
    assert len(three_epochs) == 3 * len(whole)
    for k, state in enumerate(states[:-1]):
        assert state == {"epoch": k // len(whole), "position": k % len(whole), "world": whole.world}
        resumed = loader()
        resumed.load_state_dict(state)
        assert resumed.epochs == k / len(whole)
        rest: list[Batch] = []
        while len(rest) < len(three_epochs) - k:
            rest += list(resumed)
        assert all(same(a, b) for a, b in zip(rest, three_epochs[k:], strict=True))


def test_epochs_seeds_and_ranks_differ() -> None:
    grey = InMemory(torch.full((64, 1, 4, 4), 128, dtype=torch.uint8), binarize="dynamic")

    def first(seed: int, epoch: int, rank: int = 0) -> Batch:
        loader = Loader(grey, 32, seed, rank=rank, world=2)
        loader.load_state_dict({"epoch": epoch, "position": 0})
        return next(iter(loader))

    assert same(first(0, 0), first(0, 0))
    for other in (first(1, 0), first(0, 1), first(0, 0, rank=1)):
        assert not torch.equal(first(0, 0)["index"], other["index"])
        assert not torch.equal(first(0, 0)["x"], other["x"])  # other noise: all pictures are equal
    here = list(Loader(grey, 32))
    assert not torch.equal(here[0]["x"], here[1]["x"])


def test_an_epoch_end_is_the_next_start_and_epochs_is_whole() -> None:
    loader = Loader(numbered(10), 4)
    assert [loader.epochs for _ in loader] == [1 / 3, 2 / 3, 1.0]
    assert loader.state_dict() == {"epoch": 1, "position": 0, "world": 1}


def test_iter_does_nothing_before_the_first_next() -> None:
    loader = Loader(numbered(10), 4)
    expected = seen(Loader(numbered(10), 4))
    iter(loader)
    started = iter(loader)
    assert next(started)["index"].tolist() == expected[0]
    iter(loader)
    assert loader.state_dict() == {"epoch": 0, "position": 1, "world": 1}
    assert seen(started) == expected[1:]


def test_an_iterator_after_one_left_midway_starts_the_next_epoch() -> None:
    loader, whole = Loader(numbered(10), 4), Loader(numbered(10), 4)
    next(iter(loader))
    _, second = seen(whole), seen(whole)
    assert seen(loader) == second
    loader.load_state_dict({"epoch": 1, "position": 1})
    assert seen(loader) == second[1:]


def test_unshuffled_rows_keep_their_order() -> None:
    assert seen(Loader(numbered(7), 3, shuffle=False)) == [[0, 1, 2], [3, 4, 5], [6]]
    assert seen(Loader(numbered(7), 2, shuffle=False, rank=1, world=2)) == [[1, 3], [5]]


def test_every_row_is_equally_often_first() -> None:
    first = torch.stack([Loader(numbered(4), 1, seed)._order(0)[0] for seed in range(2000)])
    counts = torch.bincount(first, minlength=4)
    assert (counts - 500).abs().max() < 5 * (2000 * 0.25 * 0.75) ** 0.5


@pytest.mark.parametrize("limit, batches", [(None, 4), (1, 1), (3, 3), (100, 4), (0.5, 2), (1.0, 4), (0.01, 1)])
def test_limits(limit: Any, batches: int) -> None:
    loader = Loader(numbered(10), 3, limit=limit)
    assert len(loader) == batches == len(list(loader))
    assert loader.state_dict() == {"epoch": 1, "position": 0, "world": 1}


@pytest.mark.parametrize("arguments", [{"limit": 0}, {"limit": 1.5}, {"limit": True}, {"limit": -2}])
def test_wrong_limits_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="limit of"):
        Loader(numbered(10), 3, **arguments)


def test_wrong_sizes_ranks_and_positions_are_refused() -> None:
    for size in (0, -1, 2.0, True):
        with pytest.raises(UserError, match="batch_size"):
            Loader(numbered(10), size)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="rank 2"):
        Loader(numbered(10), 1, rank=2, world=2)
    with pytest.raises(UserError, match="fewer processes"):
        Loader(numbered(1), 1, world=2)
    with pytest.raises(UserError, match="same data, batch_size"):
        Loader(numbered(10), 5).load_state_dict({"epoch": 0, "position": 2})


def test_loading_leaves_the_run_s_random_states_alone() -> None:
    for source, workers in ((numbered(22), 0), (PerSample(Noisy()), 0), (PerSample(Noisy()), 1)):
        before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()  # type: ignore[index]
        list(Loader(source, 4, num_workers=workers))
        assert torch.equal(before[0], torch.get_rng_state()) and before[1] == random.getstate()
        assert (before[2] == np.random.get_state()[1]).all()  # type: ignore[index]


def test_workers_give_the_same_bits_and_resume_at_the_exact_batch() -> None:
    def loader(workers: int) -> Loader:
        return Loader(PerSample(Noisy()), 4, 9, num_workers=workers)

    alone, ahead = loader(0), loader(2)
    first, second = list(alone), list(alone)
    assert all(same(a, b) for a, b in zip(list(ahead), first, strict=True))
    midway = iter(ahead)  # persistent workers, a second epoch, left midway
    assert same(next(midway), second[0]) and same(next(midway), second[1])
    assert ahead.state_dict() == {"epoch": 1, "position": 2, "world": 1}
    resumed = loader(2)
    resumed.load_state_dict(ahead.state_dict())
    assert all(same(a, b) for a, b in zip(resumed, second[2:], strict=True))
    third = list(alone)
    assert all(same(a, b) for a, b in zip(ahead, third, strict=True))  # batches that were read ahead are discarded


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_in_a_worker_is_one_line(workers: int) -> None:
    class Unnamed(Noisy):
        def __getitem__(self, i: int) -> Any:
            return 1, 2, 3

    with pytest.raises(UserError, match="^Unnamed gives items of 3 parts.*names them$"):
        list(Loader(PerSample(Unnamed()), 4, num_workers=workers))


@pytest.mark.slow  # torch looks after 5 seconds
def test_a_worker_that_dies_is_one_line_between_two_batches() -> None:

    class Deadly(Noisy):
        def __getitem__(self, i: int) -> Any:
            if i == 17:
                os.kill(os.getpid(), signal.SIGKILL)
            return super().__getitem__(i)

    before, found = signal.getsignal(signal.SIGCHLD), []
    with pytest.raises(Unread, match=r"^worker 0 of 2 \(process \d+\).* was killed by SIGKILL.*num_workers.*resume"):
        for batch in Loader(PerSample(Deadly()), 4, shuffle=False, num_workers=2):
            found.append(batch["index"].tolist())
            assert signal.getsignal(signal.SIGCHLD) is before  # torch would raise an error in the middle of a step
    rows = [*itertools.chain(*found)]
    assert rows == [*range(16)][: len(rows)] and rows  # in their order; batches on the way may be lost with the worker


def test_a_worker_that_is_about_to_end_has_died() -> None:
    """A process closes its files before its parent can see that it has ended."""

    def close_files_and_end() -> None:
        os.closerange(3, 1024)
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGKILL)

    worker = multiprocessing.get_context("fork").Process(target=close_files_and_end)
    worker.start()
    workers = _Workers(numbered(4), 0, num_workers=1, in_flight=1, pin_memory=False)
    died = workers._died(SimpleNamespace(_workers=[worker]))
    assert died is not None and "was killed by SIGKILL" in str(died)


def test_a_connection_that_is_cut_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    """The run's process can end while a thread of a worker hands a batch over to it."""

    class Cut(Noisy):
        def __getitem__(self, i: int) -> Any:
            address, _ = resource_sharer.DupFd(0)._id  # type: ignore[attr-defined]
            Client(address, authkey=multiprocessing.current_process().authkey).close()
            resource_sharer.stop()  # once the thread has answered
            return super().__getitem__(i)

    assert len(seen(Loader(PerSample(Cut()), 22, num_workers=1))) == 1
    assert capfd.readouterr().err == ""


def test_per_sample_noise_depends_on_the_row_and_the_epoch() -> None:
    big, small = Loader(PerSample(Noisy()), 22, 1), Loader(PerSample(Noisy()), 3, 1)

    def by_row(loader: Loader) -> Tensor:
        rows = list(loader)
        return torch.cat([b["x"] for b in rows])[torch.cat([b["y"] for b in rows]).argsort()]

    one, two = by_row(big), by_row(small)
    assert torch.equal(one, two)  # whatever the batches
    assert (one != by_row(big)).all()  # another epoch, with all three random states
    assert ((one % 1).std(0) > 0.1).all()


def test_mix_spreads() -> None:
    seeds = {mix(a, b, c) for a in range(10) for b in range(10) for c in range(10)}
    assert len(seeds) == 1000 and max(seeds) < 2**64
    assert len({mix(0), mix(0, 0), mix(0, 0, 0)}) == 3
    start = time.perf_counter()
    for i in range(1000):
        mix(1, 2, i, 0)
    assert time.perf_counter() - start < 0.02 * 5  # 20 us each, and slack for a busy machine


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_data_in_memory_moves_to_the_gpu_once() -> None:
    there, here = Loader(numbered(10), 4, device="cuda"), Loader(numbered(10), 4)
    for a, b in zip(there, here, strict=True):
        assert a["x"].is_cuda and a["index"].is_cuda and torch.equal(a["index"].cpu(), b["index"])


@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2), (3, 2), (2, 3), (4, 1)])
def test_with_another_number_of_ranks_the_rows_of_an_epoch_that_are_left_come_next(before: int, after: int) -> None:
    ranks = [Loader(numbered(97), 4, seed=3, rank=rank, world=before) for rank in range(before)]
    seen = set[int]()
    for loader in ranks:
        batches = iter(loader)
        seen |= {int(i) for _ in range(5) for i in next(batches)["index"]}
    assert len(seen) == 5 * 4 * before
    left, first = list[int](), set[int]()
    for rank in range(after):
        loader = Loader(numbered(97), 4, seed=3, rank=rank, world=after)
        loader.load_state_dict(ranks[0].state_dict())
        batch, *others = iter(loader)
        first |= {int(i) for i in batch["index"]}
        left += [int(i) for other in others for i in other["index"]]
    assert not seen & set(left), "only rows of the first batch may be repeated"
    assert len(first & seen) == (5 * before) % after * 4
    assert len(seen | first | set(left)) >= 97 - 97 % after - 97 % before
