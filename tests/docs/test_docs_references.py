"""Links, files and commands in the documents exist."""

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from frame.commands import help
from frame.composition.compose import compose
from frame.composition.stored import resolved

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
OURS = re.compile(r"(?<![\w./-])(?:config|frame|tests|sweeps|docs)/[\w./-]*\w/?")
COMMAND = re.compile(r"^(?:[A-Z_]+=\S+ )?(?:python train\.py|frame train) .*$")


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_have_a_target(page: Path) -> None:
    for link in LINK.findall(page.read_text()):
        if re.match(r"https?:", link):
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.exists(), f"{page.name} links to {link}"
        assert not anchor or anchor in anchors(target), f"{page.name} links to {link}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_are_named_exist(page: Path) -> None:
    text = page.read_text()
    own = set(re.findall(r'title="([^"]+)"', text))  # files that the reader writes
    code = re.findall(r"`([^`\n]+)`", text) + re.findall(r"^```\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    for path in {found for part in code for found in OURS.findall(part)} - own:
        assert (ROOT / path).exists(), f"{page.name} names {path}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_targets_that_are_named_can_be_imported(page: Path) -> None:
    for name in re.findall(r"`(frame\.[\w.]+\.[A-Z]\w+)", page.read_text()):
        module, _, attribute = name.rpartition(".")
        assert hasattr(__import__(module, fromlist=[attribute]), attribute), f"{page.name} names {name}"


def commands() -> list[str]:
    text = (ROOT / "README.md").read_text() + (ROOT / "docs/commands.md").read_text()
    lines = re.findall(r"`([^`\n]+)`", text) + re.findall(r"^```(?:bash|sh)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return sorted({line for part in lines for line in part.splitlines() if COMMAND.match(line) and "…" not in line})


@pytest.mark.parametrize("command", commands())
def test_commands_of_the_readme_and_the_table_compose(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    words = shlex.split(command)
    while "=" in words[0]:
        name, _, value = words.pop(0).partition("=")
        monkeypatch.setenv(name, value)
    overrides = [word for word in words[2:] if word not in ("--cfg", "job")]
    resolved(compose(overrides))


def test_every_option_of_the_issue_is_in_the_readme() -> None:
    shown = " ".join(commands())
    for option in ("+experiment=", "+trainer.max_epochs=", "train_for=", "logging=", "DEVICE_NAME=", "debug=", "seed="):
        assert option in shown
    assert len(commands()) >= 10


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


def test_the_commands_of_frame_are_all_in_the_table() -> None:
    text = (ROOT / "docs/commands.md").read_text()
    for command in ('eval "$(frame -sc', *(f"frame {name}" for name in help.names())):
        assert command in text, command


def contained(part: Any, whole: Any) -> bool:
    if isinstance(part, dict):
        return all(key in whole and contained(value, whole[key]) for key, value in part.items())
    return bool(part == whole)


def test_the_experiment_that_the_readme_shows_is_ours() -> None:
    (shown,) = re.findall(r"^```yaml\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    ours = yaml.safe_load((ROOT / "config" / "experiment" / "MNIST_VAE.yaml").read_text())
    assert contained(yaml.safe_load(shown), ours)


def test_make_targets_that_are_named_exist() -> None:
    for target in {name for page in PAGES for name in re.findall(r"\bmake ([a-z-]+)(?=[`\n])", page.read_text())}:
        done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
