"""Finds config files, in the user's own folder before frame's. Nothing here imports torch or Hydra."""

import sys
from pathlib import Path

from frame.common.errors import UserError


def config_folder() -> Path:
    """The folder of frame's own config: beside the package in a clone, inside it in a wheel."""
    package = Path(__file__).resolve().parents[1]
    beside = package.parent / "config"
    return beside if (beside / "config.yaml").is_file() else package / "config"


class OwnFolder:
    """The user's own `config/`; its files win over ours of the same name."""

    folder: Path | None = None


def use_own_folder(folder: Path | None = None, *, trains: bool = True) -> None:
    """Adds `folder` (by default ./config, if there is one) to the search path, and its parent to sys.path.

    A command that only reads runs (`trains=False`) adds only the parent of a folder that was named. It does not add the
    working folder, which may be a stranger's.
    """
    own = (folder or Path("config")).resolve()
    if folder is not None and not own.is_dir():
        raise UserError(f"--config-dir: there is no folder {own}")
    OwnFolder.folder = own if own.is_dir() and own != config_folder() else None
    place = str(own_folder())
    if (trains or OwnFolder.folder is not None and folder is not None) and place not in sys.path:
        sys.path.append(place)  # after everything that is installed, whose place no module of the user's takes


def own_folder() -> Path:
    """The folder of the user's own modules: the one that holds the user's `config/`, else the working folder."""
    return OwnFolder.folder.parent if OwnFolder.folder is not None else Path.cwd()


def config_folders() -> list[Path]:
    """The folder of frame's config, and the user's own if there is one."""
    return [folder for folder in (config_folder(), OwnFolder.folder) if folder is not None]


def groups() -> list[str]:
    return sorted({entry.name for root in config_folders() for entry in root.iterdir() if entry.is_dir()})


def options(group: str) -> list[str]:
    """The names that `group=` accepts: files in frame's config and in the user's own."""
    return sorted({file.stem for root in config_folders() for file in (root / group).glob("*.yaml")})


def file_of(group: str, option: str) -> Path | None:
    """The file that `group=option` reads: the user's own, else ours. None if there is none."""
    files = [root / group / f"{option}.yaml" for root in config_folders()[::-1]]
    return next((file for file in files if file.is_file()), None)
