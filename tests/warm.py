"""Composes a run once in the parent of forked commands, so that they find its config files parsed."""

from frame.composition.compose import compose
from frame.composition.folders import OwnFolder
from tests.processes import OWN

OwnFolder.folder = OWN / "config"
compose(["experiment=tiny", "params.lr=1"])
OwnFolder.folder = None
