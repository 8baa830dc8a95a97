"""Where batches come from: whole batches of a source, in an order that (seed, epoch) determines, with a position."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from frame.common.errors import UserError
from frame.data.base import Batch, Resident, Seeded, Source, moved

_MASK = (1 << 64) - 1


def mix(*numbers: int) -> int:
    """A 64-bit seed from integers: one round of SplitMix64 (Steele, Lea and Flood 2014) for each of them."""
    state = len(numbers)
    for number in numbers:
        state = (state + number + 0x9E3779B97F4A7C15) & _MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
        state ^= state >> 31
    return state


class Loader:
    """Sized, sharded, resumable batches of one split.

    With W ranks, global batch i is rows [i*B*W, (i+1)*B*W) of the epoch's permutation and each rank takes every W-th
    of them: together they see what one process with batch size B*W sees. The last, ragged batch is kept; so that
    ranks have equal batches, up to W - 1 rows (others each epoch) are left out of an epoch.

    Args:
        source: what to read. Where it lies in memory (`Resident`) it moves to an accelerator as a whole, once.
        batch_size: B, rows a batch and rank.
        seed: fixes the order of the rows and the noise of `source.transform`, whatever else draws random numbers.
        rank, world: this process and how many there are.
        shuffle: a new permutation each epoch; else the rows' own order.
        num_workers: processes that read ahead; unused by sources in memory, which are faster without.
        limit: at most so many batches an epoch (int), or this part of them (float in (0, 1]).
        device: where batches come out.

    Raises:
        UserError: a value out of range, or fewer rows than ranks.
    """

    def __init__(
        self,
        source: Source,
        batch_size: int,
        seed: int = 0,
        *,
        rank: int = 0,
        world: int = 1,
        shuffle: bool = True,
        num_workers: int = 0,
        limit: int | float | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
            raise UserError(f"batch_size={batch_size} must be a whole number of at least 1")
        if not 0 <= rank < world:
            raise UserError(f"rank {rank} is not one of {world} processes")
        if len(source) < world:
            raise UserError(f"a split of {len(source)} rows cannot be shared by {world} processes: use fewer processes")
        self.source, self.batch_size, self.seed = source, batch_size, seed
        self.rank, self.world, self.shuffle, self.num_workers = rank, world, shuffle, num_workers
        self._length = _limited(-(-(len(source) // world) // batch_size), limit)
        self.epoch, self.position = 0, 0  # whole epochs behind us, batches consumed of this one
        self._underway = False  # an iterator of ours has begun since the state was last set
        self._workers: _Workers | None = None
        self.to(device)

    def __len__(self) -> int:
        """Batches an epoch, on each rank."""
        return self._length

    @property
    def epochs(self) -> float:
        """Epochs consumed; exactly a whole number at an epoch's end."""
        return (self.epoch * len(self) + self.position) / len(self)

    def to(self, device: torch.device | str) -> "Loader":
        """Batches come out on `device` from now on."""
        self.device = torch.device(device)
        self._resident, self._here = False, self.source
        if isinstance(self.source, Resident) and self.device.type != "cpu":
            self._resident, self._here = True, self.source.to(self.device)
        self._generator = torch.Generator(self.device)
        return self

    def state_dict(self) -> dict[str, int]:
        """Batches consumed, the one in training included; an epoch's end is the next one's start."""
        return {"epoch": self.epoch, "position": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """The next iterator goes on with the very next batch.

        Raises:
            UserError: an epoch has no such position.
        """
        if not 0 <= state["position"] < len(self):
            raise UserError(
                f"the checkpoint stands at batch {state['position']} of an epoch that has {len(self)} now: "
                "resume with the same data, batch_size, limits and number of processes"
            )
        self.epoch, self.position = state["epoch"], state["position"]
        self._underway = False

    def __iter__(self) -> Iterator[Batch]:
        # A generator: nothing happens before the first next(), since Lightning calls iter() more than once.
        if self._underway and self.position > 0:  # the former iterator was left midway: that epoch is over
            self.epoch, self.position = self.epoch + 1, 0
        self._underway = True
        epoch, start = self.epoch, self.position
        shares = self._order(epoch).split(self.batch_size)[start : len(self)]
        for position, rows in enumerate(self._fetch(epoch, shares), start):
            # advanced before the batch is handed out: a checkpoint taken while it is in training counts it
            done = position + 1 == len(self)
            self.epoch, self.position = (epoch + 1, 0) if done else (epoch, position + 1)
            self._generator.manual_seed(mix(self.seed, epoch, position, self.rank))
            yield self._here.transform(rows, self._generator)

    def _order(self, epoch: int) -> Tensor:
        """This rank's rows in the epoch, int64 [n // world], on the device if the rows lie there."""
        n = len(self.source)
        if self.shuffle:
            order = torch.randperm(n, generator=torch.Generator().manual_seed(mix(self.seed, epoch)))
        else:
            order = torch.arange(n)
        mine = order[: n - n % self.world][self.rank :: self.world].contiguous()
        return mine.to(self.device) if self._resident else mine

    def _fetch(self, epoch: int, shares: Sequence[Tensor]) -> Iterator[Batch]:
        if self.num_workers > 0 and not isinstance(self.source, Resident):
            if self._workers is None:
                self._workers = _Workers(self.source, self.seed, self.num_workers, self.device.type == "cuda")
            fetched = self._workers.fetch(epoch, shares)
        else:
            here = _at(self._here, self.seed, epoch)
            fetched = (here.batch(indices) for indices in shares)
        if self._resident or self.device.type == "cpu":
            return fetched
        return (moved(rows, self.device) for rows in fetched)


class _Workers:
    """Processes that read ahead. They live as long as this does; each order carries its epoch with it."""

    def __init__(self, source: Source, seed: int, num_workers: int, pin_memory: bool) -> None:
        self._plan: list[tuple[int, Tensor]] = []
        self._loader: DataLoader = DataLoader(
            _WholeBatches(source, seed),
            sampler=self._plan,
            batch_size=None,
            num_workers=num_workers,
            persistent_workers=True,
            pin_memory=pin_memory,
            generator=torch.Generator(),  # its own, so that starting workers takes nothing from the run's noise
        )

    def fetch(self, epoch: int, shares: Sequence[Tensor]) -> Iterator[Batch]:
        self._plan[:] = [(epoch, indices) for indices in shares]
        for rows in self._loader:
            if isinstance(rows, UserError):
                raise rows
            yield rows


class _WholeBatches(Dataset):
    def __init__(self, source: Source, seed: int) -> None:
        self.source, self.seed = source, seed

    def __getitem__(self, order: tuple[int, Tensor]) -> Batch | UserError:
        epoch, indices = order
        try:
            return _at(self.source, self.seed, epoch).batch(indices)
        except UserError as mistake:  # handed over and not raised: torch would wrap its one line in a traceback
            return mistake


def _at(source: Source, seed: int, epoch: int) -> Source:
    return source.at(seed, epoch) if isinstance(source, Seeded) else source


def _limited(batches: int, limit: int | float | None) -> int:
    if limit is None:
        return batches
    if isinstance(limit, float) and 0 < limit <= 1:
        return max(1, int(batches * limit))
    if isinstance(limit, int) and not isinstance(limit, bool) and limit >= 1:
        return min(batches, limit)
    raise UserError(f"a limit of {limit} batches must be a whole number of at least 1, or a part in (0, 1]")
