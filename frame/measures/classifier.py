"""A small classifier of codes, trained here: it shows what codes tell about labels."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frame.common.errors import UserError, at_least
from frame.measures.geometry import finite
from frame.measures.neighbours import check_classes, check_codes


def fit_classifier(
    codes: Tensor,
    y: Tensor,
    valid_codes: Tensor,
    valid_y: Tensor,
    n_classes: int,
    hidden: int = 256,
    iterations: int = 5000,
    seed: int = 0,
) -> nn.Module:
    """A network from codes to logits of the classes, with one hidden layer.

    It is trained by Adam at 1e-3 on batches of 256 standardised codes. Its cross-entropy on `valid_codes` is measured
    every 50 iterations, or every epoch if that is longer. The best weights are kept, and training ends after ten
    measurements without improvement.

    Args:
        codes, y: [N, D] and [N], classes 0 .. n_classes - 1.
        valid_codes, valid_y: rows on which the best weights are chosen.
        n_classes: number of classes.
        hidden: units of the hidden layer; 0 for a linear classifier.
        iterations: maximum number of iterations.
        seed: seed of weights and batches.

    Raises:
        UserError: a number is out of range, or a label is not one of the classes.
        NoNumber: codes are NaN or all equal, or there is one class.
    """
    at_least(0, hidden=hidden)
    at_least(1, iterations=iterations)
    x, x_valid = finite(codes).float(), finite(valid_codes).float()
    check_classes(y)
    check_codes(x)
    y, valid_y = y.long().cpu(), valid_y.long().cpu()
    if not (0 <= min(y.min(), valid_y.min()) and max(y.max(), valid_y.max()) < n_classes):
        raise UserError(f"labels lie between {int(y.min())} and {int(y.max())}: give classes 0 .. {n_classes - 1}")
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)
        net = _network(x, n_classes, hidden)
        optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
        every = max(50, len(x) // 256)
        best, kept, waited = float("inf"), net.state_dict(), 0
        for iteration in range(iterations):
            if iteration % max(1, len(x) // 256) == 0:
                batches = torch.randperm(len(x)).split(256)
            rows = batches[iteration % max(1, len(x) // 256)]
            optimizer.zero_grad()
            F.cross_entropy(net(x[rows]), y[rows]).backward()
            optimizer.step()
            if (iteration + 1) % every == 0 or iteration + 1 == iterations:
                with torch.no_grad():
                    found = F.cross_entropy(net(x_valid), valid_y).item()
                waited = 0 if found < best else waited + 1
                if found < best:
                    best, kept = found, {key: value.clone() for key, value in net.state_dict().items()}
                if waited == 10:
                    break
    net.load_state_dict(kept)
    return net.eval()


def _network(x: Tensor, n_classes: int, hidden: int) -> nn.Sequential:
    scale = _Standardised(x)
    if not hidden:
        return nn.Sequential(scale, nn.Linear(x.shape[1], n_classes))
    return nn.Sequential(scale, nn.Linear(x.shape[1], hidden), nn.ReLU(), nn.Linear(hidden, n_classes))


class _Standardised(nn.Module):
    """(x - mean) / spread of each dimension, with the statistics of all rows."""

    def __init__(self, x: Tensor) -> None:
        super().__init__()
        spread = x.std(0, correction=0)
        self.mean, self.spread = nn.Buffer(x.mean(0)), nn.Buffer(spread.clamp(min=1e-3 * spread.max().item()))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.spread
