"""Rules: the parameters that they match, the options that they set, and the end of a freeze."""

from collections.abc import Mapping
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from frame.architectures.layers import BatchNorm
from frame.common.durations import Duration
from frame.common.errors import UserError
from frame.common.schedules import Linear
from frame.data.base import Batch
from frame.data.memory import InMemory
from frame.models.base import Model
from frame.models.Joint import Joint
from frame.optimization.adversarial import AdversarialOptimization
from frame.optimization.base import Optimization, Player
from frame.optimization.batch import BatchOptimization
from frame.optimization.groups import Rules
from frame.optimization.joint import JointOptimization
from tests.optimization.fitting import fit
from tests.own.toys import Duel

AdamW: Any = torch.optim.AdamW  # Any, because its type allows no schedule
adam = partial(AdamW, lr=0.1, weight_decay=0.5)


class Block(nn.Module):
    def __init__(self, n: int) -> None:
        super().__init__()
        self.norm, self.layer = nn.LayerNorm(n), nn.Linear(n, n)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layer(self.norm(x))


class Tower(Model):
    """An embedding, blocks and a norm, as in a ViT, and a head."""

    def __init__(self, depth: int = 3) -> None:
        super().__init__()
        self.encoder = nn.ModuleDict({"embed": nn.Linear(4, 4), "norm": nn.LayerNorm(4)})
        self.encoder["blocks"] = nn.ModuleList([Block(4) for _ in range(depth)])
        self.head = nn.Linear(4, 1)

    def compute_loss(self, batch: Batch) -> dict[str, Tensor]:
        h = self.encoder["embed"](batch["x"].float().flatten(1) / 255)
        for block in self.encoder["blocks"].children():
            h = block(h)
        return {"loss": (self.head(self.encoder["norm"](h)) - 1).square().mean()}


def pictures() -> InMemory:
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (64, 1, 2, 2), dtype=torch.uint8, generator=generator)
    return InMemory(x, torch.arange(64) % 10)


def made(rules: Mapping[str, Any] | None, optimizer: Any = adam, **options: Any) -> BatchOptimization:
    torch.manual_seed(0)
    optimization = BatchOptimization(Tower(), optimizer, 16, rules=rules, **options)
    optimization.configure_optimizers()
    return optimization


def names_of(optimization: Optimization, player: str = "model") -> dict[str, list[str]]:
    return {group.name: list(group.parameters) for group in optimization.players[player].groups}


def weights(optimization: Optimization) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in optimization.model.named_parameters()}


def test_without_rules_an_optimizer_has_its_parameters_as_a_list() -> None:
    ours, theirs = made(None), Tower()
    plain = adam(list(theirs.parameters()))
    assert ours.players["model"].optimizer.state_dict() == plain.state_dict()
    assert names_of(ours) == {"rest": [name for name, _ in theirs.named_parameters()]}


def test_only_the_first_matching_rule_applies() -> None:
    optimization = made(
        {
            "still": {"kind": "norms_and_biases", "weight_decay": 0.0},
            "head": {"match": ["head.*", "encoder.embed.?eight"], "lr_scale": 0.1, "eps": 1e-4},
            "all": {"match": "*", "lr": 0.3},
        }
    )
    groups = optimization.players["model"].optimizer.param_groups
    assert [g["weight_decay"] for g in groups] == [0.0, 0.5, 0.5]
    assert [g["lr"] for g in groups] == [0.1, 0.1 * 0.1, 0.3]
    assert [g["eps"] for g in groups] == [1e-8, 1e-4, 1e-8]
    names = names_of(optimization)
    assert names["head"] == ["encoder.embed.weight", "head.weight"]
    assert names["all"] == [f"encoder.blocks.{i}.layer.weight" for i in range(3)]
    assert all(name.endswith("bias") or "norm" in name for name in names["still"]) and len(names["still"]) == 13
    assert optimization.options() == {"lr/model/still": 0.1, "lr/model/head": pytest.approx(0.01), "lr/model/all": 0.3}


@pytest.mark.parametrize(
    ("pattern", "found"), [("head.[bw]*", 2), ("head.[!b]*", 1), ("*.#.layer.bias", 3), ("h?ad.bias", 1)]
)
def test_patterns(pattern: str, found: int) -> None:
    rules = Rules({"these": {"match": pattern}}, Tower())
    assert len(rules.owner) == found


def test_a_layer_below_the_last_has_a_smaller_rate() -> None:
    """As in BEiT's fine-tuning: embedding 0.5^4, blocks 0.5^3 ... 0.5^1, norm and head the full rate."""
    layers = ["encoder.embed.*", "encoder.blocks.#.*", "encoder.norm.*"]
    plain = {"encoder": {"match": layers, "layer_decay": 0.5}}
    optimization = made(plain)
    rates = {g["group"]: g["lr"] for g in optimization.groups()}
    expected = {f"encoder.{i}": 0.1 * 0.5 ** (4 - i) for i in range(5)} | {"rest": 0.1}
    assert rates == pytest.approx(expected)
    assert optimization.options() == pytest.approx({"lr/model/encoder": 0.1, "lr/model/rest": 0.1})
    # if rules separate them by dimensions, the depths do not change
    both = {"no_decay": {**plain["encoder"], "kind": "norms_and_biases", "weight_decay": 0.0}, **plain}
    split = {(g["group"]): g for g in made(both).groups()}
    assert split["no_decay.2"]["lr"] == split["encoder.2"]["lr"] == pytest.approx(0.1 * 0.25)
    assert split["no_decay.2"]["options"] == "weight_decay: 0.0"


def test_more_than_nine_layers_are_in_the_order_of_their_numbers() -> None:
    rules = Rules({"blocks": {"match": "encoder.blocks.#.*", "layer_decay": 0.9}}, Tower(12))
    depth, factor = rules.depths["blocks"]["encoder.blocks.10.norm.bias"]
    assert depth == 10 and factor == pytest.approx(0.9)


def test_a_scheduled_rate_keeps_the_factor(tmp_path: Path) -> None:
    rules = {
        "head": {"match": "head.*", "lr_scale": 0.5},
        "embed": {"match": "encoder.embed.*", "weight_decay": Linear(0.0, 0.8, "100%")},
    }
    optimization = made(rules, partial(AdamW, lr=Linear(0.4, 0.0, "100%"), weight_decay=0.1))
    fit(optimization, pictures(), 4, tmp_path)  # the last of four steps, after three others
    assert optimization.options() == pytest.approx(
        {"lr/model/head": 0.05, "lr/model/embed": 0.1, "lr/model/rest": 0.1, "weight_decay/model/embed": 0.6}
    )


def test_frozen_parameters_do_not_change_and_have_no_gradient(tmp_path: Path) -> None:
    optimization = made({"still": {"match": "encoder.*", "freeze": True}})
    before = weights(optimization)
    fit(optimization, pictures(), 5, tmp_path)
    after = weights(optimization)
    for name, weight in before.items():
        assert torch.equal(weight, after[name]) == name.startswith("encoder."), name
    assert optimization.groups()[-1] == {"player": "", "group": "frozen", "tensors": 16, "parameters": 112}


@pytest.mark.parametrize("accumulate", [1, 2])
def test_parameters_frozen_for_a_time_start_like_new(accumulate: int, tmp_path: Path) -> None:
    """After the freeze the optimizer steps like a new one, and weight decay has not changed the weights."""
    seen: list[dict[str, bool]] = []

    class Watching(Tower):
        last: dict[str, Tensor]

        def after_update(self, iteration: int) -> None:
            now = {name: p.detach().clone() for name, p in self.named_parameters()}
            seen.append({name: torch.equal(now[name], self.last[name]) for name in now})
            self.last = now

    torch.manual_seed(0)
    model = Watching()
    model.last = {name: p.detach().clone() for name, p in model.named_parameters()}
    rules = {"encoder": {"match": "encoder.*", "freeze": "1 epoch"}}  # an epoch has four batches
    optimization = BatchOptimization(model, adam, 16, accumulate=accumulate, rules=rules)
    fit(optimization, pictures(), 8, tmp_path)
    for update, stays in enumerate(seen):
        for name, same in stays.items():
            assert same == (name.startswith("encoder.") and update < 4 // accumulate), (update, name)
    state = optimization.players["model"].optimizer.state
    steps = {name: int(state[p]["step"]) for name, p in model.named_parameters()}
    assert steps["encoder.embed.weight"] == 4 // accumulate and steps["head.weight"] == 8 // accumulate


@pytest.mark.parametrize("norm", [nn.BatchNorm1d(4), BatchNorm(4, momentum=0.1)], ids=["torch", "ours"])
def test_a_frozen_normalisation_keeps_its_statistics_and_uses_them(norm: nn.Module, tmp_path: Path) -> None:
    modes: list[bool] = []

    class Normalised(Tower):
        def __init__(self) -> None:
            super().__init__()
            self.encoder["norm"] = deepcopy(norm)

        def compute_loss(self, batch: Batch) -> dict[str, Tensor]:
            modes.append(self.encoder["norm"].training)
            return super().compute_loss(batch)

    def statistics(model: Model) -> list[Tensor]:
        return [buffer.clone() for name, buffer in model.named_buffers() if name.startswith("encoder.norm")]

    for freeze, expected in ((True, [False] * 6), ("2 iterations", [False] * 2 + [True] * 4)):
        modes.clear()
        optimization = BatchOptimization(Normalised(), adam, 16, rules={"a": {"match": "encoder.*", "freeze": freeze}})
        before = statistics(optimization.model)
        fit(optimization, pictures(), 6, tmp_path)
        assert modes == expected
        same = [torch.equal(a, b) for a, b in zip(before, statistics(optimization.model), strict=True)]
        assert all(same) if freeze is True else not any(same)


def test_a_resumed_freeze_ends_where_it_would_have(tmp_path: Path) -> None:
    """Interrupted at every iteration, in the freeze, in the warm-up and after them: the same bits."""
    rules = {"encoder": {"match": "encoder.*", "freeze": "50%", "lr_scale": 0.3}}
    optimizer = partial(AdamW, lr=Linear(0.1, 0.0, warmup="4 iterations"), weight_decay=0.1, fused=True)

    def new() -> BatchOptimization:
        return made(rules, optimizer, average=0.9)

    source = pictures()
    whole = new()
    fit(whole, source, 8, tmp_path)
    for broken_at in (1, 3, 4, 5, 7):
        first, second = new(), new()
        fit(first, source, broken_at, tmp_path, length=8)
        fit(second, source, 8, tmp_path, state=first.training_state())
        for name, weight in weights(whole).items():
            assert torch.equal(weight, weights(second)[name]), (broken_at, name)
        assert whole.options() == second.options()


def test_rules_reach_both_players(tmp_path: Path) -> None:
    rules = {
        "critic": {"match": "adversary.#.bias", "freeze": True},
        "generator": {"match": "generator.*", "freeze": "2 iterations", "lr_scale": 0.5},
    }
    optimization = AdversarialOptimization(Duel(4), adam, adam, 16, rules=rules)
    before = weights(optimization)
    fit(optimization, pictures(), 2, tmp_path)
    same = {name: torch.equal(before[name], weight) for name, weight in weights(optimization).items()}
    assert same == {
        "generator.weight": True,
        "generator.bias": True,
        "adversary.1.weight": False,
        "adversary.1.bias": True,
    }
    fit(optimization, pictures(), 4, tmp_path)
    assert not torch.equal(before["generator.weight"], weights(optimization)["generator.weight"])
    assert optimization.options() == {"lr/model": pytest.approx(0.05), "lr/adversary": 0.1}


@pytest.mark.parametrize("summed", [True, False])
def test_a_whole_model_of_several_may_be_frozen(summed: bool, tmp_path: Path) -> None:
    for freeze, moves in ((True, False), ("2 iterations", True)):
        torch.manual_seed(0)
        joint = Joint({"a": Tower(1), "b": Tower(1)})
        rules = {"a": {"match": "models.a.*", "freeze": freeze}}
        optimization = JointOptimization(joint, adam, 16, summed=summed, rules=rules)
        before = weights(optimization)
        fit(optimization, pictures(), 4, tmp_path)
        after = weights(optimization)
        assert torch.equal(before["models.a.head.bias"], after["models.a.head.bias"]) != moves
        assert not torch.equal(before["models.b.head.bias"], after["models.b.head.bias"])


class Partly(BatchOptimization):
    def make_players(self) -> Any:
        named = super().make_players()["model"].named
        return {"model": Player([(name, p) for name, p in named.items() if name != "head.bias"], adam)}


WRONG: list[tuple[Any, str]] = [
    ({"a": {"match": "encodr.*", "freeze": True}}, "rules.a matches no parameter.*There are: .*encoder"),
    ({"a": {"match": "encoder"}}, "rules.a matches no parameter"),
    ({"a": {"match": r"encoder\..*"}}, "matches no parameter"),
    ({"a": {"match": "*"}, "b": {"match": "head.*"}}, "rules.b matches nothing that a rule before it"),
    ({"a": {"match": "head.[bw*"}}, r"rules.a: the pattern 'head.\[bw\*' has a bracket"),
    ({"a": {"match": "head.[z-a]"}}, "bad range"),
    ({"a": {"match": "*.#.#.*"}}, "has # twice"),
    ({"a": {"match": ""}}, "write a pattern"),
    ({"a": {"match": 3}}, "write a pattern"),
    ({"a": {"lr_scale": 0.1}}, "rules.a: write match"),
    ({"a": "encoder.*"}, "rules.a: write match"),
    ({"a.b": {"match": "*"}}, "a rule's name"),
    ({"rest": {"match": "*"}}, "a rule's name"),
    (["encoder.*"], "name each rule"),
    ({"a": {"kind": "biases"}}, "no kind of parameters 'biases': did you mean 'norms_and_biases'"),
    (
        {"a": {"match": "head.*", "weight_decai": 0.0}},
        "rules.a: no option of AdamW 'weight_decai': did you mean 'weight_decay'",
    ),
    ({"a": {"match": "head.*", "weight_decay": -1.0}}, "rules.a: Invalid weight_decay value: -1"),
    ({"a": {"match": "head.*", "lr": Linear(0.1, -0.1)}}, "rules.a: Invalid learning rate: -0.1"),
    ({"a": {"match": "head.*", "lr_scale": -0.1}}, "rules.a.lr_scale=-0.1"),
    ({"a": {"match": "head.*", "lr_scale": 0}}, "freeze: true"),
    ({"a": {"match": "head.*", "lr_scale": 0.1, "lr": 0.1}}, "give one of them"),
    ({"a": {"match": "*.#.*", "layer_decay": 1.5}}, "layer_decay=1.5"),
    ({"a": {"match": "head.*", "layer_decay": 0.5}}, "layer_decay finds 1 layers: write #"),
    ({"a": {"match": "*", "freeze": True}}, "freeze all parameters of the model"),
    ({"a": {"match": "*", "freeze": "2 epochs"}}, "freeze all parameters of the model"),
    ({"a": {"match": "head.*", "freeze": "often"}}, "freeze: 'often' is not a duration"),
    ({"a": {"match": "head.*", "freeze": "-1 epoch"}}, "negative"),
    ({"a": {"match": "head.*", "freeze": "150%"}}, "more than the whole run"),
    ({"a": {"match": "head.*", "freeze": "11 epochs"}}, "rules.a.freeze lasts 44 iterations, and the run 40"),
    ({"a": {"match": "head.*", "freeze": "5 seconds"}}, "depends on the machine's speed"),
    ({"a": {"match": "head.*", "freeze": "5 epoks"}}, "no unit 'epoks'"),
    ({"a": {"match": "head.*", "freeze": True, "lr_scale": 0.1}}, "with freeze: true, lr_scale has no effect"),
]


@pytest.mark.parametrize(("rules", "says"), WRONG, ids=lambda value: str(value)[:50])
def test_errors_are_one_line(rules: Any, says: str) -> None:
    class Loader(list):
        world = 1

    with pytest.raises(UserError, match=says) as caught:
        made(rules).bind([Duration(10, "epochs")], Loader(range(4)))
    assert "\n" not in str(caught.value)


def test_a_parameter_that_no_optimizer_has_is_named() -> None:
    with pytest.raises(UserError, match="no optimizer has the parameter head.bias: .*freeze: true"):
        Partly(Tower(), adam, 16).grouped_players()
    Partly(Tower(), adam, 16, rules={"still": {"match": "head.bias", "freeze": True}}).grouped_players()


def test_a_player_whose_parameters_are_all_frozen_is_named() -> None:
    rules = {"critic": {"match": "adversary.*", "freeze": True}}
    with pytest.raises(UserError, match="all parameters of an optimizer are frozen .adversary.1.weight"):
        AdversarialOptimization(Duel(4), adam, adam, 16, rules=rules).grouped_players()
