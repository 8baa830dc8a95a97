"""The baseline: an MLP VAE 784-1024-128-64 trained by a minimal loop.

It has uint8 pictures in memory, one `index_select` per batch, losses by hand and fused Adam, and logs nothing.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BATCH, Z_DIM = 128, 64


def networks() -> tuple[nn.Sequential, nn.Sequential]:
    """Encoder [B, 784] -> mu and rho [B, 128]; decoder [B, 64] -> logits [B, 784]."""
    encoder = nn.Sequential(nn.Linear(784, 1024), nn.ReLU(), nn.Linear(1024, 128), nn.ReLU(), nn.Linear(128, 2 * Z_DIM))
    decoder = nn.Sequential(nn.Linear(Z_DIM, 128), nn.ReLU(), nn.Linear(128, 1024), nn.ReLU(), nn.Linear(1024, 784))
    return encoder, decoder


def losses(encoder: nn.Module, decoder: nn.Module, x: Tensor, beta: float) -> tuple[Tensor, Tensor, Tensor]:
    """loss, distortion and rate of pictures x [B, 784] in [0, 1]; nats per picture, means over the batch."""
    mu, rho = encoder(x).chunk(2, dim=-1)
    sigma = F.softplus(rho) + 1e-6
    z = mu + sigma * torch.randn_like(mu)
    distortion = F.binary_cross_entropy_with_logits(decoder(z), x, reduction="sum") / len(x)
    # KL(N(mu, sigma^2) || N(0, 1)) = (mu^2 + sigma^2 - 1) / 2 - log sigma
    rate = (0.5 * (mu.square() + sigma.square() - 1) - sigma.log()).sum(dim=-1).mean()
    return distortion + beta * rate, distortion, rate


def train(pixels: Tensor, iterations: int, tick: Callable[[], None], lr: float = 1e-3, beta: float = 0.5) -> None:
    """Trains on pixels [N, 784] uint8, wherever they lie, and calls `tick` after each iteration."""
    encoder, decoder = (network.to(pixels.device) for network in networks())
    adam = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=lr, fused=True)
    order = torch.randperm(len(pixels), device=pixels.device)
    for i in range(iterations):
        x = pixels.index_select(0, order[i * BATCH : (i + 1) * BATCH]).float().mul_(1 / 255)
        loss, _, _ = losses(encoder, decoder, x, beta)
        loss.backward()
        adam.step()
        adam.zero_grad(set_to_none=True)
        tick()


def train_graph(pixels: Tensor, iterations: int, tick: Callable[[], None], lr: float = 1e-3, beta: float = 0.5) -> None:
    """The same step captured once in a CUDA graph and replayed; CUDA only."""
    encoder, decoder = (network.to(pixels.device) for network in networks())
    adam = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=lr, fused=True, capturable=True)
    order = torch.randperm(len(pixels), device=pixels.device)
    rows = order[:BATCH].clone()  # the graph reads the batch's rows from here

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
        rows.copy_(order[i * BATCH : (i + 1) * BATCH])
        graph.replay()
        tick()
