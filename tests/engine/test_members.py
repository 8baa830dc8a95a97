"""Several runs in one process, as members of stacks."""

from pathlib import Path

import pytest
import torch

from frame.commands.sweep import train_here, train_stack
from frame.runs.folder import RunFolder
from frame.sweeps.launchers import ALONE

WORDS = ("+experiment=digits_VAE", "logging=csv", "evaluations=null", "doctor=null", "train_for='30 iterations'")


def trained(tmp_path: Path, *members: tuple[str, ...], if_quicker: bool = False) -> tuple[list[int], list[str]]:
    """Trains members in a stack; returns their exit codes and logs. Member i has its runs below `<i>`."""
    runs = []
    for number, words in enumerate(members):
        place = f"device.experiments_root={tmp_path / str(number)}"
        given = [*words] if words[0].startswith("resume=") else [*WORDS, place, *words]
        runs.append((given, (tmp_path / f"{number}.log").open("a")))
    codes = [-1] * len(members)
    train_stack(runs, codes.__setitem__, if_quicker)
    for _, stream in runs:
        stream.close()
    return codes, [(tmp_path / f"{number}.log").read_text() for number in range(len(members))]


def run_of(folder: Path) -> RunFolder:
    (config,) = folder.glob("*/*/config.yaml")
    return RunFolder(config.parent)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    checkpoint = run_of(folder).checkpoint()
    assert checkpoint is not None
    found: dict[str, torch.Tensor] = checkpoint["model"]
    return found


def test_each_member_has_a_run_of_its_own(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Members may differ in seeds, coefficients and options of optimizers; a member that diverges stops alone."""
    members = (
        ("seed=1", "params.beta=0.5"),
        ("seed=2", "params.lr=1e-2", "train_for='20 iterations'"),
        ("seed=3", "params.lr=1e30"),
    )
    codes, logs = trained(tmp_path, *members)
    assert codes == [0, 0, 1], logs
    assert [run_of(tmp_path / str(n)).standing["state"] for n in range(3)] == ["finished", "finished", "failed"]
    assert "trained 30 iterations" in logs[0] and "trained 20 iterations" in logs[1]
    assert "try a smaller learning rate" in logs[2]
    assert capfd.readouterr().out == ""  # members print into their logs


def test_a_member_equals_the_run_alone(tmp_path: Path) -> None:
    trained(tmp_path, ("seed=1",), ("seed=2",))
    assert train_here([*WORDS, "seed=2", f"device.experiments_root={tmp_path / 'alone'}"]) == 0
    for name, mine in weights(tmp_path / "1").items():
        torch.testing.assert_close(mine, weights(tmp_path / "alone")[name], rtol=1e-4, atol=1e-5)


def test_a_stack_goes_on_in_the_same_bits(tmp_path: Path) -> None:
    members = (("seed=1",), ("seed=2",))
    trained(tmp_path, *members)
    (tmp_path / "parts").mkdir()
    short = [(*words, "train_for='13 iterations'", "cut_schedules=true") for words in members]
    trained(tmp_path / "parts", *short)
    on = [(f"resume={run_of(tmp_path / 'parts' / str(n)).path}", "train_for=30 iterations") for n in range(2)]
    codes, logs = trained(tmp_path / "parts", *on)
    assert codes == [0, 0], logs
    for n in range(2):
        whole, parts = weights(tmp_path / str(n)), weights(tmp_path / "parts" / str(n))
        assert all(torch.equal(whole[name], parts[name]) for name in whole)
        assert "all bits" not in logs[n]


def test_a_member_that_goes_on_alone_says_so(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    trained(tmp_path, ("seed=1",), ("seed=2",))
    assert train_here([f"resume={run_of(tmp_path / '0').path}", "train_for=35 iterations"]) == 0
    assert "was trained in a stack of 2 and goes on alone" in capfd.readouterr().err


def test_what_cannot_be_stacked_is_left_to_a_process_before_it_has_a_folder(tmp_path: Path) -> None:
    members = (("seed=1",), ("seed=2",), ("params.encoder_layers=[16]",), ("execution=compiled",))
    codes, logs = trained(tmp_path, *members)
    assert codes == [0, 0, ALONE, ALONE], logs
    assert "encoder" in logs[2] and "differs from that of the others" in logs[2]
    assert "its execution is not eager" in logs[3]
    assert not (tmp_path / "2").exists() and not (tmp_path / "3").exists()


def test_an_error_before_training_is_the_members_own(tmp_path: Path) -> None:
    codes, logs = trained(tmp_path, ("seed=1",), ("params.beta=-1",), ("seed=2",))
    assert codes == [0, 2, 0], logs
    assert "beta" in logs[1] and not (tmp_path / "1").exists()
