"""Seeds the noise of a step by its number, so that nothing between two steps changes it."""

from frame.common.seeds import seed_torch


def seed_noise(seed: int, iteration: int, rank: int) -> None:
    """Seeds torch for one iteration of one rank."""
    # odd constants spread neighbouring (seed, iteration, rank) over 63 bits; the generators hash them again
    mixed = (seed * 0x9E3779B97F4A7C15 + iteration * 0xBF58476D1CE4E5B9 + rank * 0x94D049BB133111EB) % 2**63
    seed_torch(mixed)
