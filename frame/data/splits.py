"""Which rows are in which split: by a column, or held out by class, in whole groups, or the last in time."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from frame.common.errors import UserError, at_least
from frame.data.identity import listed

SPLITS = ("train", "valid", "test")
NAMES = {  # what splits are called by others
    "train": ("train", "training", "trn"),
    "valid": ("valid", "val", "validation", "dev", "development"),
    "test": ("test", "testing", "tst"),
}
WAYS = ("random", "time")
TRIED = 20  # orders of the groups, of which the one whose classes fit best is taken


def names_splits(values: Iterable[object]) -> bool:
    """Whether a column says of each row in which split it is, such as 'train' and 'val'."""
    found = {split_named(value) if isinstance(value, str) else None for value in values}
    return len(found) > 1 and None not in found


def split_named(name: str) -> str | None:
    """The split that a name means, such as 'valid' by 'validation'; None if it means none."""
    return next((split for split, names in NAMES.items() if name.lower() in names), None)


@dataclass(frozen=True)
class Splitting:
    """How rows are held out; the same keys for every format.

    Args:
        n_valid, n_test: shares of all rows, each in [0, 1), for a split that the data lack; 0 makes none.
        seed: of the rows that are drawn.
        group: the column whose values stay together, such as patients or recordings; None if rows are independent.
        split_by: 'random': drawn, the same share of each class; 'time': the last rows are 'test', and those before
            them 'valid'; any other word: the column that names each row's split, such as 'train' or 'val'.
        time: the column that orders rows; None takes the order of the file.
        env: the column of environments, such as hospitals. It is read like the others, and does not hold out rows.

    Raises:
        UserError: a value is out of range, unknown, or excludes another.
    """

    n_valid: float = 0.1
    n_test: float = 0.1
    seed: int = 0
    group: str | None = None
    split_by: str = "random"
    time: str | None = None
    env: str | None = None

    def __post_init__(self) -> None:
        at_least(0, seed=self.seed)
        if not (0 <= self.n_valid and 0 <= self.n_test and self.n_valid + self.n_test < 1):
            raise UserError(
                f"n_valid={self.n_valid} and n_test={self.n_test} must be parts of 1 that leave some for training"
            )
        if self.time is not None and self.split_by != "time":
            raise UserError(f"time={self.time} orders rows only with split_by=time: set it, too, or leave out time")
        if self.group is not None and self.split_by == "time":
            raise UserError("group and split_by=time exclude each other: leave out one of them")

    @property
    def named_by(self) -> str | None:
        """The column that names the split of each row."""
        return None if self.split_by in WAYS else str(self.split_by)

    @property
    def columns(self) -> list[str]:
        """The columns that are read beside rows and labels."""
        named = (self.group, self.time, self.named_by, self.env)
        return list(dict.fromkeys(name for name in named if name is not None))


@dataclass
class Part:
    """What splitting reads of the rows that one file or folder holds."""

    n: int
    labels: np.ndarray | None = None  # [n], classes of any type
    groups: np.ndarray | None = None  # [n]
    times: np.ndarray | None = None  # [n], sortable
    splits: np.ndarray | None = None  # [n], the name of each row's split
    order: np.ndarray | None = None  # a permutation of the rows, in which they are drawn; None: the seed's

    def groups_of(self, rows: np.ndarray) -> np.ndarray | None:
        return None if self.groups is None else self.groups[rows]


@dataclass
class Divided:
    """For each split, the part that has its rows, and the rows in it."""

    rows: dict[str, tuple[str, np.ndarray]] = field(default_factory=dict)
    told: str = ""  # one line on what was held out; '' if nothing was


def divided(parts: Mapping[str, Part], how: Splitting) -> Divided:
    """The rows of every split. 'test' and 'valid' are held out of 'train' if they are not given.

    Raises:
        UserError: there is no 'train', a group lies in several of the given splits, a column names splits that there
            are files for or that mean nothing, or there are too few rows.
    """
    if "train" not in parts:
        raise UserError(f"there is no split 'train', only {listed(list(parts))}: name the data to train on 'train'")
    train = parts["train"]
    found = Divided({name: (name, np.arange(part.n)) for name, part in parts.items()})
    if train.splits is not None:
        found.rows = _named(parts, str(how.named_by))
        counts = ", ".join(f"{len(rows)} as '{split}'" for split, (_, rows) in found.rows.items())
        found.told = f"{counts} by the column {how.named_by!r}"
    _check_groups({split: parts[part].groups_of(rows) for split, (part, rows) in found.rows.items()})
    shares = {"test": how.n_test, "valid": how.n_valid}
    wanted = {name: share for name, share in shares.items() if name not in found.rows and share > 0}
    left, total = found.rows["train"][1], train.n
    for name, share in wanted.items():
        picked = _picked(train, left, share * total / max(len(left), 1), how)
        found.rows[name] = ("train", left[picked])
        left = np.delete(left, picked)
        if not len(picked) or not len(left):
            raise UserError(
                f"{total} rows are too few to hold out {' and '.join(wanted)}: give them, or set data.n_valid=0 and "
                "data.n_test=0"
            )
    found.rows["train"] = ("train", left)
    found.rows = {name: found.rows[name] for name in SPLITS if name in found.rows}
    if wanted:
        counts = " and ".join(f"{len(found.rows[name][1])} as '{name}'" for name in SPLITS if name in wanted)
        held = f"{counts} held out of {total} rows, {_way(train, how)}"
        found.told = "; ".join(filter(None, [found.told, held]))
    return found


def _named(parts: Mapping[str, Part], column: str) -> dict[str, tuple[str, np.ndarray]]:
    """The rows of 'train' by the split that the column names."""
    if len(parts) > 1:
        raise UserError(
            f"split_by={column} divides one file, and there is also {listed([n for n in parts if n != 'train'])}: "
            "leave out split_by, or the other files"
        )
    names = parts["train"].splits
    assert names is not None
    meant = {name: split_named(str(name).strip()) for name in dict.fromkeys(names.tolist())}
    if unknown := [str(name) for name, split in meant.items() if split is None]:
        raise UserError(
            f"the column {column!r} has {listed(unknown, 3)}: it must say train, valid or test in each row (or val, "
            "validation, dev)"
        )
    split_of = np.array([str(meant[name]) for name in names.tolist()])
    found = {split: ("train", np.flatnonzero(split_of == split)) for split in SPLITS if (split_of == split).any()}
    if "train" not in found:
        raise UserError(f"the column {column!r} names no row 'train', only {listed(list(found))}")
    return found


def _way(train: Part, how: Splitting) -> str:
    if how.split_by == "time":
        by_time = (
            f"the column {how.time!r}" if how.time else "their names" if train.times is not None else "their order"
        )
        return f"the last by {by_time}"
    if train.groups is not None:
        n = len(np.unique(train.groups))
        kept = f"whole groups of {how.group!r} ({n} in all)"
        return f"{kept}, classes in like shares, seed {how.seed}" if train.labels is not None else kept
    by = f"by their names{f', seed {how.seed}' if how.seed else ''}" if train.order is not None else f"seed {how.seed}"
    return f"the same share of every class, {by}" if train.labels is not None else by


def _picked(part: Part, left: np.ndarray, share: float, how: Splitting) -> np.ndarray:
    """Positions in `left`, which are rows of the part, that are held out, in order."""
    if how.split_by == "time":
        return last(len(left), share, None if part.times is None else part.times[left])
    labels = None if part.labels is None else part.labels[left]
    if part.groups is not None:
        return whole_groups(part.groups[left], share, labels, how.seed, str(how.group))
    order = None
    if part.order is not None:  # the same order, of the rows that are left
        place = np.full(part.n, -1)
        place[left] = np.arange(len(left))
        order = place[part.order][place[part.order] >= 0]
    return held_out(len(left), share, labels, how.seed, order)


def _check_groups(groups: Mapping[str, np.ndarray | None]) -> None:
    """Raises UserError if splits share a group."""
    for i, one in enumerate(SPLITS):
        for other in SPLITS[i + 1 :]:
            first, second = groups.get(one), groups.get(other)
            if first is None or second is None:
                continue
            both = sorted(set(first.tolist()) & set(second.tolist()), key=str)
            if both:
                raise UserError(
                    f"'{one}' and '{other}' share {len(both)} groups ({listed(both)}): move each group into one split, "
                    f"or give one file, of which '{other}' is held out"
                )


def share(sizes: Sequence[int], part: float) -> list[int]:
    """The number of rows to hold out of classes of these sizes, so that the share `part` of all rows is held out.

    Each class gives its share, rounded so that the sum is right. Classes of two rows or more give at least one and keep
    at least one, unless more than twice the share would be held out.
    """
    total = round(sum(sizes) * part)
    exact = [size * part for size in sizes]
    counts = [min(int(wanted), max(size - 1, 0)) for wanted, size in zip(exact, sizes, strict=True)]
    by_remainder = sorted(range(len(sizes)), key=lambda i: (counts[i] - exact[i], i))
    for i in by_remainder:
        if sum(counts) < total and counts[i] < sizes[i] - 1:
            counts[i] += 1
    for i in sorted(range(len(sizes)), key=lambda i: (-sizes[i], i)):
        if part > 0 and counts[i] == 0 and sizes[i] > 1 and sum(counts) < 2 * max(total, 1):
            counts[i] = 1
    return counts


def held_out(
    n: int, part: float, labels: np.ndarray | None, seed: int = 0, order: np.ndarray | None = None
) -> np.ndarray:
    """Rows of n to hold out, in order, by one fixed permutation; the same share of each class if there are labels.

    At least one if n > 1. With fewer than two rows per class on average, `labels` are not classes and are ignored.

    Args:
        n: rows.
        part: the share of them.
        labels: [n], classes of any type, or None.
        seed: of the permutation; its stream does not change between versions of numpy.
        order: the permutation itself.
    """
    order = np.random.RandomState(seed).permutation(n) if order is None else order
    if labels is not None:
        classes, number = np.unique(labels, return_inverse=True)
        if 2 * len(classes) <= n:
            groups = [order[number[order] == i] for i in range(len(classes))]
            counts = share([len(group) for group in groups], part)
            if sum(counts) > 0:
                taken = [group[:count] for group, count in zip(groups, counts, strict=True)]
                return np.sort(np.concatenate(taken))
    return np.sort(order[: min(max(1, round(n * part)), n - 1)])


def drawn_by_name(names: Sequence[bytes], seed: int = 0) -> np.ndarray:
    """A permutation of rows by a hash of their names, so that it hardly changes if others are added."""
    salt = f"{seed} ".encode() if seed else b""
    return np.array(sorted(range(len(names)), key=lambda i: hashlib.sha256(salt + names[i]).digest()), dtype=np.int64)


def whole_groups(
    groups: np.ndarray, part: float, labels: np.ndarray | None, seed: int = 0, name: str = "group"
) -> np.ndarray:
    """Rows of whole groups to hold out, in order, so that their share, and that of each class, is near `part`.

    Of `TRIED` random orders of the groups, and of every number of first groups in them, the one is taken for which
    sum_c |n_c - part N_c|, over classes c with n_c of their N_c rows held out, is least.

    Raises:
        UserError: there are fewer than two groups.
    """
    names, of = np.unique(groups, return_inverse=True)
    if len(names) < 2:
        raise UserError(f"'{name}' has {len(names)} groups left, of which none can be held out: give the split")
    classes = np.zeros(len(groups), dtype=np.int64) if labels is None else np.unique(labels, return_inverse=True)[1]
    counts = np.zeros((len(names), int(classes.max()) + 1))  # [G, K]
    np.add.at(counts, (of, classes), 1)
    target, best = part * counts.sum(0), (np.inf, np.arange(0))
    random = np.random.RandomState(seed)
    for _ in range(TRIED):
        order = random.permutation(len(names))
        away = np.abs(counts[order].cumsum(0) - target).sum(1)[:-1]  # at least one group is kept
        if away.min() < best[0]:
            best = away.min(), order[: int(away.argmin()) + 1]
    return np.flatnonzero(np.isin(of, best[1]))


def last(n: int, part: float, times: np.ndarray | None) -> np.ndarray:
    """The last rows by time, in the order of the file. Rows of one time are held out together or not at all."""
    order = np.arange(n) if times is None else np.argsort(times, kind="stable")
    cut = n - min(max(1, round(n * part)), n - 1)
    if times is not None:
        while 0 < cut < n and times[order[cut]] == times[order[cut - 1]]:
            cut += 1
        if cut == n:  # the last time has more rows than the share
            cut = int(np.searchsorted(times[order], times[order[-1]]))
    return np.sort(order[cut:]) if cut > 0 else np.arange(0)
