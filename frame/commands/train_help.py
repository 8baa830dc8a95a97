"""`frame train --help`: also keys and what can be chosen, from the config files. Hydra's own takes twice as long."""

import re
import textwrap
from pathlib import Path

from frame.commands.help import WIDTH, help_of, table
from frame.commands.train import COMMAND
from frame.composition.folders import config_folder, config_folders, options

LINE = re.compile(r"( *)(\w+):(?: ([^#]+?))?(?: *# (.*))?")  # a key of config.yaml, its value, and its comment
CHOSEN = ("params", "architectures", "hydra", "doctor")  # the experiment's, or not for a first look


def train_help() -> str:
    """The usage of `frame train`, with all config groups and their options, in the user's folder and in ours."""
    groups = "\n".join(["What can be chosen, GROUP=NAME, +experiment=NAME:", *map(_described, _groups())])
    return help_of(COMMAND, [f"Keys of every run\n{table(keys())}", groups, "  --hydra-help shows Hydra's own flags"])


def keys() -> dict[str, str]:
    """The keys in config.yaml with their defaults, and what its comments say on them."""
    found: dict[str, str] = {}
    section = ""
    for line in (config_folder() / "config.yaml").read_text().splitlines():
        match = LINE.fullmatch(line)
        if match is None:
            continue
        indent, key, value, comment = match.groups()
        section = section if indent else key
        if section in CHOSEN or value is None and comment is None:
            continue
        dotted = f"{section}.{key}" if indent else key
        found[f"{dotted}={value}" if value else dotted] = comment or ""
    return found


def _groups() -> list[str]:
    """The folders of config/ that have YAML files, such as 'architectures/encoder'."""
    folders: set[Path] = set()
    for root in config_folders():
        folders |= {file.parent.relative_to(root) for file in root.glob("*/**/*.yaml")}
    return sorted(folder.as_posix() for folder in folders)


def _described(group: str) -> str:
    listed = f"  {group}: {', '.join(options(group))}"
    return textwrap.fill(listed, WIDTH, subsequent_indent="      ", break_on_hyphens=False, break_long_words=False)
