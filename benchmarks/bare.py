"""The baseline: an MLP VAE trained by a minimal loop.

It has uint8 pictures in memory, one `index_select` per batch, losses by hand and fused Adam, and logs nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Size:
    """Hidden widths of the encoder (the decoder's are reversed), the latent dimension, and rows per batch."""

    layers: tuple[int, ...]
    z_dim: int
    batch: int


SIZES = {"large": Size((1024, 128), 64, 128), "small": Size((64,), 8, 64)}


def networks(size: Size = SIZES["large"]) -> tuple[nn.Sequential, nn.Sequential]:
    """Encoder [B, 784] -> mu and rho [B, 2 z_dim]; decoder [B, z_dim] -> logits [B, 784]."""

    def mlp(*widths: int) -> nn.Sequential:
        layers = [layer for n_in, n_out in pairwise(widths) for layer in (nn.Linear(n_in, n_out), nn.ReLU())]
        return nn.Sequential(*layers[:-1])

    return mlp(784, *size.layers, 2 * size.z_dim), mlp(size.z_dim, *reversed(size.layers), 784)


def losses(encoder: nn.Module, decoder: nn.Module, x: Tensor, beta: float) -> tuple[Tensor, Tensor, Tensor]:
    """loss, distortion and rate of pictures x [B, 784] in [0, 1]; nats per picture, means over the batch."""
    mu, rho = encoder(x).chunk(2, dim=-1)
    sigma = F.softplus(rho) + 1e-6
    z = mu + sigma * torch.randn_like(mu)
    distortion = F.binary_cross_entropy_with_logits(decoder(z), x, reduction="sum") / len(x)
    # KL(N(mu, sigma^2) || N(0, 1)) = (mu^2 + sigma^2 - 1) / 2 - log sigma
    rate = (0.5 * (mu.square() + sigma.square() - 1) - sigma.log()).sum(dim=-1).mean()
    return distortion + beta * rate, distortion, rate


def train(
    pixels: Tensor, size: Size, iterations: int, tick: Callable[[], None], lr: float = 1e-3, beta: float = 0.5
) -> None:
    """Trains on pixels [N, 784] uint8, wherever they lie, and calls `tick` after each iteration."""
    encoder, decoder = (network.to(pixels.device) for network in networks(size))
    descend(
        [*encoder.parameters(), *decoder.parameters()],
        lambda x: losses(encoder, decoder, x, beta)[0],
        pixels,
        size,
        iterations,
        tick,
        lr,
    )


def descend(
    parameters: list[nn.Parameter],
    loss_of: Callable[[Tensor], Tensor],
    pixels: Tensor,
    size: Size,
    iterations: int,
    tick: Callable[[], None],
    lr: float = 1e-3,
) -> None:
    """The minimal loop, for any loss of a batch x [B, 784] in [0, 1]."""
    adam = torch.optim.Adam(parameters, lr=lr, fused=True)
    order = torch.randperm(len(pixels), device=pixels.device)
    for i in range(iterations):
        x = pixels.index_select(0, order[i * size.batch : (i + 1) * size.batch]).float().mul_(1 / 255)
        loss = loss_of(x)
        loss.backward()
        adam.step()
        adam.zero_grad(set_to_none=True)
        tick()


def train_graph(
    pixels: Tensor, size: Size, iterations: int, tick: Callable[[], None], lr: float = 1e-3, beta: float = 0.5
) -> None:
    """The same step captured once in a CUDA graph and replayed; CUDA only."""
    encoder, decoder = (network.to(pixels.device) for network in networks(size))
    adam = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=lr, fused=True, capturable=True)
    order = torch.randperm(len(pixels), device=pixels.device)
    rows = order[: size.batch].clone()  # the graph reads the batch's rows from here

    def step() -> None:
        x = pixels.index_select(0, rows).float().mul_(1 / 255)
        loss, _, _ = losses(encoder, decoder, x, beta)
        adam.zero_grad(set_to_none=False)  # the graph writes gradients to the memory of its capture
        loss.backward()
        adam.step()

    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):  # allocations and Adam's state are made before the capture
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    for i in range(iterations):
        rows.copy_(order[i * size.batch : (i + 1) * size.batch])
        graph.replay()
        tick()
