"""V-REx: the variance of risks by hand."""

import pytest
import torch

from frame.architectures.base import MLPEncoder, Predictor
from frame.models.VREx import VREx


def test_the_loss_by_hand() -> None:
    torch.manual_seed(0)
    encoder, predictor = MLPEncoder([3], 2, [4], deterministic=True), Predictor(2, 2)
    env = torch.tensor([0, 1, 1, 2, 2, 2])
    batch = {"x": torch.rand(6, 3), "y": torch.tensor([0, 1, 1, 0, 1, 0]), "env": env}
    log_p = predictor(encoder(batch["x"]).mean).logits
    risks = [-sum(log_p[i, batch["y"][i]] for i in range(6) if env[i] == e) / n for e, n in enumerate((1, 2, 3))]
    mean = sum(risks) / 3
    variance = sum((risk - mean) ** 2 for risk in risks) / 3
    found = VREx(encoder, predictor, 3, beta=0.5)(batch)
    torch.testing.assert_close(found["variance"], variance)
    torch.testing.assert_close(found["risk"], mean)
    torch.testing.assert_close(found["loss"], sum(risks) + 0.5 * variance)
    large = VREx(encoder, predictor, 3, beta=50.0)(batch)["loss"]
    torch.testing.assert_close(large, (sum(risks) + 50 * variance) / 50)


def test_the_authors_weight_of_the_squared_difference_is_a_quarter_of_beta() -> None:
    torch.manual_seed(0)
    model = VREx(MLPEncoder([3], 2, [4], deterministic=True), Predictor(2, 2), 2, beta=4.0, rescale=False)
    batch = {"x": torch.rand(6, 3), "y": torch.tensor([0, 1, 1, 0, 1, 0]), "env": torch.arange(6) % 2}
    first, second = ({key: value[e::2] for key, value in batch.items()} for e in range(2))
    r1, r2 = (model({**part, "env": part["env"] * 0})["risk"] for part in (first, second))
    found = model(batch)
    assert found["loss"].item() == pytest.approx((r1 + r2 + (r1 - r2) ** 2).item())
