"""Convolutions over time take series of any length and give a Normal for each step."""

import pytest
import torch
from torch.distributions import Bernoulli, Normal

from frame.architectures.base import NormalPerValue
from frame.architectures.temporal import NormalOfLengths, TemporalDecoder, TemporalEncoder, default_channels
from frame.common.errors import UserError


@pytest.mark.parametrize(("channels", "steps"), [(1, 24), (6, 100), (12, 29), (1, 150), (2, 2), (1, 9)])
def test_any_length_is_encoded_and_decoded(channels: int, steps: int) -> None:
    encoder, decoder = TemporalEncoder([channels, steps], 3, layers=[8]), TemporalDecoder([channels, steps], 3, [8])
    q = encoder(torch.randn(4, channels, steps))
    assert q.batch_shape == (4,) and q.event_shape == (3,)
    p = decoder(q.mean)
    assert p.batch_shape == (4,) and p.event_shape == (channels, steps)
    assert TemporalEncoder([channels, steps], 3, pooled=True).features(torch.randn(4, channels, steps)).dim() == 2


def test_each_step_has_a_normal_of_its_own() -> None:
    numbers = torch.randn(5, 2, 3, 7)
    x = torch.randn(5, 3, 7)
    p = NormalPerValue(smallest=0.1)(numbers)
    scale = torch.nn.functional.softplus(numbers[:, 1]) + 0.1
    torch.testing.assert_close(p.log_prob(x), Normal(numbers[:, 0], scale).log_prob(x).sum((1, 2)))
    with pytest.raises(UserError, match="must be positive"):
        NormalPerValue(0)


def test_padded_steps_do_not_count_and_lengths_do() -> None:
    """Against a loop over the steps of each series."""
    numbers = torch.randn(3, 2, 3, 5)  # two channels, and the one that says which steps are there
    lengths = [2, 5, 1]
    x = torch.zeros(3, 3, 5)
    for row, length in enumerate(lengths):
        x[row, :2, :length], x[row, 2, :length] = torch.randn(2, length), 1.0
    p = NormalOfLengths(smallest=0.1)(numbers)
    scale = torch.nn.functional.softplus(numbers[:, 1]) + 0.1
    for row, length in enumerate(lengths):
        slow = torch.zeros(())
        for t in range(5):
            here = Bernoulli(logits=numbers[row, 0, 2, t])
            slow += here.log_prob(torch.tensor(float(t < length)))
            for c in range(2 if t < length else 0):
                slow += Normal(numbers[row, 0, c, t], scale[row, c, t]).log_prob(x[row, c, t])
        torch.testing.assert_close(p.log_prob(x)[row], slow)
    torch.manual_seed(0)
    drawn = p.sample((40_000,))
    assert not drawn[..., :2, :][(drawn[..., 2:, :] == 0).expand_as(drawn[..., :2, :])].any()
    torch.testing.assert_close(drawn.mean(0), p.mean, atol=0.05, rtol=0)
    torch.testing.assert_close(drawn.var(0), p.variance, atol=0.15, rtol=0.05)
    decoder = TemporalDecoder([3, 29], 4, distribution=NormalOfLengths())
    assert decoder(torch.randn(6, 4)).log_prob(torch.ones(6, 3, 29)).shape == (6,)


def test_what_does_not_fit_is_refused() -> None:
    assert default_channels([1, 24]) == [32, 64] and default_channels([3, 150]) == [32, 64, 128, 128, 128]
    with pytest.raises(UserError, match=r"temporal networks take series \[channels, steps\]"):
        TemporalEncoder([1, 8, 8], 2)
    with pytest.raises(UserError, match="cannot be halved 4 times"):
        TemporalEncoder([1, 8], 2, channels=[4, 4, 4, 4])
