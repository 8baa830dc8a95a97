"""A line that a notebook replaces."""

from typing import Any

import pytest
from IPython.core.displaypub import CapturingDisplayPublisher
from IPython.core.interactiveshell import InteractiveShell

from frame.common.notebook import Line, in_notebook


def test_only_a_kernel_is_a_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not in_notebook()

    class Shell:
        kernel = None

    monkeypatch.setattr("IPython.get_ipython", lambda: Shell())
    assert in_notebook()


def test_one_display_is_updated(monkeypatch: pytest.MonkeyPatch) -> None:
    shell: Any = InteractiveShell.instance()
    monkeypatch.setattr(shell, "display_pub", CapturingDisplayPublisher(shell=shell))
    line = Line()
    for text in ("1 %", "2 %", "3 %"):
        line.show(text)
    outputs = shell.display_pub.outputs
    assert [output["data"]["text/plain"] for output in outputs] == ["1 %", "2 %", "3 %"]
    assert [output["update"] for output in outputs] == [False, True, True]
    assert len({output["transient"]["display_id"] for output in outputs}) == 1
    InteractiveShell.clear_instance()
