"""Objects are built only from plain values."""

import functools
from typing import Any

import pytest
import torch
from hydra.utils import instantiate as hydra_instantiate
from torch import nn

from frame.common.errors import UserError
from frame.composition.compose import compose
from frame.composition.folders import options
from frame.composition.instantiate import instantiate
from frame.composition.stored import resolved
from tests.sized import sized


def linear(n: int, **more: Any) -> dict[str, Any]:
    return {"_target_": "torch.nn.Linear", "in_features": n, "out_features": 2, **more}


def test_a_node_is_built_with_its_children() -> None:
    node = {"_target_": "torch.nn.Sequential", "_args_": [linear(3), {"_target_": "torch.nn.Tanh"}]}
    model = instantiate(node)
    assert model(torch.zeros(4, 3)).shape == (4, 2) and node["_args_"][0] == linear(3)
    assert instantiate({"a": [1, linear(2), "x"], "b": None})["a"][1].in_features == 2
    kept = instantiate({"_target_": "builtins.dict", "a": [1, {"b": (2, 3)}], "_convert_": "all"})
    assert kept == {"a": [1, {"b": (2, 3)}]} and type(kept["a"]) is list and type(kept["a"][1]) is dict


def test_partials_and_given_arguments() -> None:
    made = instantiate({"_target_": "torch.optim.SGD", "_partial_": True, "lr": 0.5})
    assert isinstance(made, functools.partial) and made.keywords == {"lr": 0.5}
    assert instantiate(linear(3, out_features="replaced"), out_features=7).out_features == 7
    assert instantiate({"_target_": "builtins.dict", "_recursive_": False, "a": linear(3)}) == {"a": linear(3)}
    assert instantiate({"_target_": "builtins.dict", "a": 1}, config={"_target_": "os.system"}) == {
        "a": 1,
        "config": {"_target_": "os.system"},
    }


def test_a_text_that_looks_like_a_reference_stays_a_text() -> None:
    texts = ["${oc.env:HOME}", "\\${x}", "${oc.create:{_target_:os.getcwd}}", "???"]
    assert instantiate({"_target_": "builtins.list", "_args_": [texts]}) == texts


@pytest.mark.parametrize(
    ("node", "said"),
    [
        (linear(3, bia=True), r"^model cannot be built: .*unexpected keyword argument 'bia'$"),
        ({"a": {"b": linear(-1)}}, r"^model\.a\.b cannot be built: "),
        ({"_target_": "torch.nn.Liner"}, r"^model: no name in torch\.nn 'Liner': did you mean 'Linear'\?"),
        (linear(3, _partial_="yes"), r"_partial_ must be true or false, and is 'yes'$"),
        (linear(3, _args_={"a": 1}), r"_args_ must be a list"),
        (linear(3, bias="???"), r"^model\.bias: torch\.nn\.Linear needs a value: add model\.bias=\.\.\.$"),
    ],
)
def test_a_node_that_cannot_be_built_is_named_with_its_place(node: Any, said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        instantiate(node, "model")
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("name", [n for n in options("experiment") if n.startswith("digits_")][::6])
def test_initial_weights_are_those_that_hydra_built(name: str) -> None:
    config = sized(compose([f"experiment={name}"]))
    torch.manual_seed(3)
    theirs: nn.Module = hydra_instantiate(config.model)
    torch.manual_seed(3)
    ours: nn.Module = instantiate(resolved(config)["model"])
    assert theirs.state_dict().keys() == ours.state_dict().keys()
    assert all(torch.equal(value, ours.state_dict()[key]) for key, value in theirs.state_dict().items())
