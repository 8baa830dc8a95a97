"""Weights of a file: what is read, how names are mapped, and what does not fit."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from frame.common.errors import UserError
from frame.common.weights import Weights, load_weights, read_weights, told


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def test_the_same_tensors_come_from_either_kind_of_file(tmp_path: Path) -> None:
    state = network().state_dict()
    save_file(state, tmp_path / "a.safetensors")
    for name in ("a.pt", "a.bin", "a.pth"):
        torch.save(state, tmp_path / name)
    for file in sorted(tmp_path.iterdir()):
        found = read_weights(file).tensors
        assert found.keys() == state.keys() and all(torch.equal(found[key], state[key]) for key in state), file


def test_the_only_weights_in_a_file_are_found_and_others_by_at(tmp_path: Path) -> None:
    one, other = network().state_dict(), network().state_dict()
    torch.save({"epoch": 3, "state_dict": one, "optimizer": {"state": {}, "lr": 0.1}}, tmp_path / "one.pt")
    assert torch.equal(read_weights(tmp_path / "one.pt").tensors["0.weight"], one["0.weight"])
    torch.save({"student": one, "nets": {"teacher": other}, "ema": other}, tmp_path / "two.pt")
    assert torch.equal(read_weights(tmp_path / "two.pt", at="nets.teacher").tensors["0.weight"], other["0.weight"])
    with pytest.raises(UserError, match="weights at student, ema: name one, at=student"):
        read_weights(tmp_path / "two.pt")
    with pytest.raises(UserError, match="did you mean 'student'"):
        read_weights(tmp_path / "two.pt", at="studnt")


def test_names_are_mapped_in_order(tmp_path: Path) -> None:
    """As a checkpoint of MoCo has them: two encoders, and a wrapper's prefix."""
    state: dict[str, Tensor] = {}
    for of in ("encoder_q", "encoder_k"):
        state |= {f"module.{of}.{name}": tensor.clone() for name, tensor in network().state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "moco.pt")
    weights = read_weights(tmp_path / "moco.pt", prefix="module.encoder_q.")
    assert (
        len(weights.apart) == 7
        and load_weights(network(), weights) == "all weights; not below the prefix: module.* (7)"
    )
    assert weights.tensors.keys() == network().state_dict().keys()
    found = read_weights(tmp_path / "moco.pt", names={r"^module\.": "", r"^encoder_(.)\.0": r"\1.first"}).tensors
    assert {"q.first.weight", "k.first.bias", "encoder_q.1.weight"} <= found.keys()
    for given, expected in (
        ({"prefix": "model."}, "no name begins with prefix=model."),
        ({"names": {"^backbone": ""}}, "matches no name"),
        ({"names": {"(": ""}}, "no regular expression"),
        ({"names": {"encoder_[qk]": "encoder"}}, "two tensors the name module.encoder.0.weight"),
    ):
        with pytest.raises(UserError, match=expected.replace("(", r"\(")):
            read_weights(tmp_path / "moco.pt", **given)


class Touching:
    """Makes a file when it is unpickled."""

    def __init__(self, file: str) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return open, (self.file, "w")


def test_nothing_in_a_file_is_executed(tmp_path: Path) -> None:
    torch.save({"weight": torch.ones(2), "more": Touching(str(tmp_path / "touched"))}, tmp_path / "evil.pt")
    with pytest.raises(UserError, match="would be executed: save its state_dict") as error:
        read_weights(tmp_path / "evil.pt")
    assert not (tmp_path / "touched").exists() and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.npz", b"", "weights are in a file that ends in"),
        ("missing.pt", None, "no such file"),
        ("cut.pt", b"PK\x03\x04cut", "cannot be read"),
        ("cut.safetensors", b"\x01", "cannot be read"),
    ],
)
def test_a_broken_file_is_one_line(tmp_path: Path, name: str, content: bytes | None, expected: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=expected) as error:
        read_weights(tmp_path / name)
    assert "\n" not in str(error.value)
    torch.save([torch.ones(2)], tmp_path / "list.pt")
    with pytest.raises(UserError, match="holds a list and no weights by name"):
        read_weights(tmp_path / "list.pt")


def test_what_does_not_fit_is_an_error_unless_it_is_allowed() -> None:
    given = {**network().state_dict(), "fc.weight": torch.ones(2), "0.weight": torch.ones(4, 5)}
    del given["1.bias"]
    fresh = network()
    before = {name: tensor.clone() for name, tensor in fresh.state_dict().items()}
    for allow in ((), ["fc"], ["fc", "0"], ["fc", "1.bias$"], ["fc", "bias", "0"]):
        with pytest.raises(UserError) as error:
            load_weights(fresh, Weights(given), allow)
        for part in ("new: 1.bias", "left out: fc.weight", "0.weight [4, 5] instead of [4, 3]", "allow=["):
            assert part in str(error.value)
    assert all(torch.equal(tensor, before[name]) for name, tensor in fresh.state_dict().items())
    said = load_weights(fresh, Weights(given), ["fc", "1.bias$", r"0\.weight$"])
    assert said == (
        "5 of 7 weights; new: 1.bias; left out: fc.weight; of another shape: 0.weight [4, 5] instead of [4, 3]"
    )
    assert torch.equal(fresh.state_dict()["0.bias"], given["0.bias"])
    assert torch.equal(fresh.state_dict()["0.weight"], before["0.weight"])
    assert load_weights(fresh, Weights(network().state_dict())) == "all weights"
    with pytest.raises(
        UserError, match="no weight fits Sequential, whose names are 0.* .2., 1.* .5.; those given are fc.weight"
    ):
        load_weights(network(), Weights({"fc.weight": torch.ones(2)}), ["."])


def test_many_names_are_counted() -> None:
    assert told(["b", "a"]) == "a, b"
    assert told([f"layer4.{i}.weight" for i in range(9)] + ["fc.bias"]) == "fc.bias, layer4.* (9)"
