"""What the parent of forked commands does once, and each of them finds done.

It composes a run, so that config files are parsed. Nothing waits for the disk: no test cuts the power, and what a
killed process wrote is there without.
"""

import os

from frame.composition.compose import compose
from frame.composition.folders import OwnFolder
from tests.processes import OWN

os.fsync = lambda fd: None
OwnFolder.folder = OWN / "config"
compose(["experiment=tiny", "params.lr=1"])
OwnFolder.folder = None
