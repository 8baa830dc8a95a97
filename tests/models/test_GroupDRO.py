"""GroupDRO: the weights of environments by a slow loop."""

import math

import pytest
import torch

from frame.architectures.base import MLPEncoder, Predictor
from frame.common.errors import UserError
from frame.models.GroupDRO import GroupDRO


def made(step_size: float = 0.5) -> GroupDRO:
    torch.manual_seed(0)
    return GroupDRO(MLPEncoder([3], 2, [4], deterministic=True), Predictor(2, 2), 3, step_size)


def batches(n: int) -> list[dict[str, torch.Tensor]]:
    torch.manual_seed(1)
    env = torch.tensor([0, 1, 1, 2, 2, 2, 0])
    return [{"x": torch.rand(7, 3), "y": torch.randint(0, 2, (7,)), "env": env} for _ in range(n)]


def test_weights_and_losses_are_those_of_a_loop() -> None:
    model = made()
    q = [1 / 3] * 3
    for batch in batches(4):
        log_p = model.predict(batch["x"])
        risks = []
        for e in range(3):
            rows = [i for i in range(7) if batch["env"][i] == e]
            risks.append(-sum(log_p[i, batch["y"][i]].item() for i in rows) / len(rows))
        q = [weight * math.exp(0.5 * risk) for weight, risk in zip(q, risks, strict=True)]
        q = [weight / sum(q) for weight in q]
        found = model(batch)
        assert found["loss"].item() == pytest.approx(sum(w * r for w, r in zip(q, risks, strict=True)), rel=1e-5)
        assert found["worst_risk"].item() == pytest.approx(max(risks))
        assert model(batch)["loss"].item() == found["loss"].item()  # weights change with the step
        model.after_update(0)
        torch.testing.assert_close(model.log_q.exp(), torch.tensor(q))


def test_the_gradient_takes_the_weights_as_numbers() -> None:
    model, (batch,) = made(), batches(1)
    model(batch)["loss"].backward()
    model.after_update(0)
    weights = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    model.zero_grad()
    risks, _ = model.by_environment(-model.predict(batch["x"]).gather(1, batch["y"].unsqueeze(1)), batch["env"])
    (model.log_q.exp() @ risks).sum().backward()
    for found, parameter in zip(weights, model.parameters(), strict=False):
        torch.testing.assert_close(found, parameter.grad)


def test_weights_change_in_training_alone_and_keep_an_absent_environment_s_share_of_1() -> None:
    model, (batch,) = made(), batches(1)
    model.eval()
    model(batch)
    model.after_update(0)
    torch.testing.assert_close(model.log_q.exp(), torch.full((3,), 1 / 3))
    model.train()
    some = {key: value[batch["env"] != 2] for key, value in batch.items()}
    model(some)
    model.after_update(1)
    assert model.log_q[2] == model.log_q.min() and model.log_q.exp().sum().item() == pytest.approx(1)
    assert "log_q" in model.state_dict()


def test_without_steps_the_weights_stay_equal() -> None:
    model, (batch,) = made(0.0), batches(1)
    torch.testing.assert_close(model(batch)["loss"], model(batch)["risk"])
    with pytest.raises(UserError, match="step_size=-1"):
        made(-1.0)
