"""Coloured MNIST: digits whose colour agrees with the label more or less often, by environment.

Arjovsky et al. 2019, "Invariant risk minimization" (1907.02893), section 5.2.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from frame.common.errors import UserError, at_least, choices
from frame.data.base import DataSet, Source
from frame.data.memory import InMemory
from frame.data.MNIST import MNIST

VALID = ("training", "test")


class CMNIST(DataSet):
    """Every second row and column of MNIST's pictures, 2 x 14 x 14, red or green; 'y' is 1 for the digits 0 to 4.

    A share of the labels is wrong, so that a model that reads the digit alone is right in 75 % of the rows. The colour
    agrees with the label in 80 and in 90 % of the rows of the two training environments, and so predicts it better. In
    the test environment it agrees in 10 % of them. 'env' is 0 and 1 in training, in turn over shuffled rows, and 2 in
    the test environment.

    'train' has MNIST's first 50,000 rows, as in the paper. Its test environment is made of MNIST's rows 50,000 to
    59,999; here these are 'valid'. 'test' has MNIST's official test rows, in the test environment, which nothing was
    chosen by.

    Args:
        data_root: the folder of all data sets; the files are MNIST's.
        download_files: download missing files into data_root.
        valid: the environments of 'valid': 'training', so that no choice made on it sees the test environment; or
            'test', the paper's test environment, by which its hyper-parameters were chosen.
        agreement: how often the colour agrees with the label, in each training environment.
        test_agreement: the same in the test environment.
        label_noise: the share of wrong labels.
        grayscale: whether both channels hold the picture, so that nothing has a colour.
        draw: seed of the shuffling, the wrong labels and the colours; the paper draws them anew for each run.
        n_valid: rows of 'valid'.
        big_data_root: another folder of data sets, searched for files that data_root lacks.

    Raises:
        UserError: a value is out of range; from `load`, a file is missing or broken.
    """

    shape = (2, 14, 14)
    n_classes = 2
    classes = ("5 to 9", "0 to 4")
    keys = ("x", "y", "env")

    def __init__(
        self,
        data_root: str | Path,
        download_files: bool = False,
        valid: str = "training",
        agreement: Sequence[float] = (0.8, 0.9),
        test_agreement: float = 0.1,
        label_noise: float = 0.25,
        grayscale: bool = False,
        draw: int = 0,
        n_valid: int = 10_000,
        big_data_root: str | Path | None = None,
    ) -> None:
        super().__init__()
        if valid not in VALID:
            raise UserError(choices(str(valid), VALID, kind="valid"))
        if len(agreement) == 0:
            raise UserError("CMNIST: agreement=[]: give a share for each training environment, such as [0.8, 0.9]")
        shares = {f"agreement[{i}]": share for i, share in enumerate(agreement)}
        for name, share in {**shares, "test_agreement": test_agreement, "label_noise": label_noise}.items():
            if not 0 <= share <= 1:
                raise UserError(f"CMNIST: {name}={share}: it is a share of the rows, from 0 to 1")
        at_least(0, draw=draw)
        self.mnist = MNIST(data_root, download_files, n_valid=n_valid, big_data_root=big_data_root)
        self.splits, self.absent = self.mnist.splits, self.mnist.absent
        self.valid, self.label_noise, self.grayscale, self.draw = valid, label_noise, grayscale, draw
        self.agreement = torch.tensor([*agreement, test_agreement])

    @property
    def n_envs(self) -> int:
        """Training environments."""
        return len(self.agreement) - 1

    def load(self, split: str) -> Source:
        rows = self.mnist.split(split)
        read = rows.batch(torch.arange(len(rows)))
        generator = torch.Generator().manual_seed(3 * self.draw + ("train", "valid", "test").index(split))
        order = torch.randperm(len(rows), generator=generator)
        if split == "train" or (split == "valid" and self.valid == "training"):
            env = torch.arange(len(rows)) % self.n_envs
        else:
            env = torch.full((len(rows),), self.n_envs)
        return self._coloured(read["x"][order], read["y"][order], env, generator)

    def _coloured(self, x: Tensor, digits: Tensor, env: Tensor, generator: torch.Generator) -> InMemory:
        """Rows with labels and colours for their environments."""
        wrong, other = torch.rand(2, len(x), generator=generator)
        y = (digits < 5) ^ (wrong < self.label_noise)
        colour = (y ^ (other >= self.agreement[env])).long()
        small = x[:, :, ::2, ::2].repeat(1, 2, 1, 1)  # [N, 2, 14, 14]
        if not self.grayscale:
            small[torch.arange(len(x)), 1 - colour] = 0
        return InMemory(small, y.long(), env=env)
