"""The state of callbacks in a checkpoint."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from lightning.pytorch import Callback

from frame.callbacks.checkpoints import LastCheckpoint, restore, state_of
from frame.callbacks.stopping import EarlyStopping


class Untold(Callback):
    """A user's own, with Lightning's default state_key, which is the class's name."""

    def __init__(self, seen: int = 0) -> None:
        self.seen = seen

    def state_dict(self) -> dict[str, Any]:
        return {"seen": self.seen}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.seen = state_dict["seen"]


def trainer(*callbacks: Callback) -> Any:
    return SimpleNamespace(callbacks=list(callbacks), train_dataloader=SimpleNamespace(state_dict=dict))


def test_callbacks_of_one_key_each_keep_their_state() -> None:
    """Two rules on one measurement, and two callbacks with the same state_key."""
    optimization: Any = SimpleNamespace(training_state=dict, load_training_state=lambda state: None)
    soon, late = EarlyStopping("ELBO", 2), EarlyStopping("ELBO", 9)
    soon.best, soon.waited, late.best, late.waited = 1.0, 1, 3.0, 7
    state = state_of(trainer(soon, Untold(4), late, Untold(5)), optimization)
    assert list(state["callbacks"]) == ["EarlyStopping[ELBO]", "Untold", "EarlyStopping[ELBO] (2)", "Untold (2)"]
    again = EarlyStopping("ELBO", 2), Untold(), EarlyStopping("ELBO", 9), Untold()
    restore(state, trainer(*again), optimization)
    assert [(one.best, one.waited) for one in (again[0], again[2])] == [(1.0, 1), (3.0, 7)]
    assert [one.seen for one in (again[1], again[3])] == [4, 5]


def test_the_state_that_a_run_goes_on_from_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """The functions that started the run hold it until the run ends."""
    monkeypatch.setattr("frame.callbacks.checkpoints.optimization_of", lambda module: module)
    loaded: list[str] = []
    optimization: Any = SimpleNamespace(
        load_training_state=lambda state: loaded.append(state["model"]), execution=SimpleNamespace(empty=None)
    )
    held = {"counters": {"iterations": 3.0}, "ended": ["3 epochs"], "callbacks": {}, "model": "weights"}
    last = LastCheckpoint(Path(), None, held)
    last.on_fit_start(trainer(), optimization)
    assert loaded == ["weights"] and not held
    assert last.saved == {"iterations": 3.0} and last.ended == ["3 epochs"]
