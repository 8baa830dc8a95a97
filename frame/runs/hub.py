"""Exports on the Hugging Face hub: a name on the hub as a folder on this machine."""

import os
import re
from pathlib import Path

from frame.common.errors import UserError

NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}(@[\w./-]{1,200})?", re.ASCII)
OURS = ("runs", "exports")  # where commands write


def is_hub_name(place: str | Path) -> bool:
    """Whether a place is 'user/name' or 'user/name@revision', and neither it nor 'user' is on this machine.

    'runs/name' is a run that is missing, and no name on the hub.
    """
    text = str(place)
    local = Path(text.partition("@")[0])
    named = isinstance(place, str) and NAME.fullmatch(text) is not None and local.parts[0] not in OURS
    return named and not (local.exists() or local.parent.exists())


def downloaded(name: str) -> Path:
    """The folder of an export on the hub, brought to this machine or up to date. Nothing in it is executed.

    Args:
        name: 'user/name', or 'user/name@revision' for a branch, a tag or a commit.

    Raises:
        UserError: huggingface_hub is not installed, there is no such export, or the hub cannot be reached.
    """
    try:
        import huggingface_hub
        from huggingface_hub import errors
    except ImportError:
        raise UserError(
            f"no folder {name}; to read it from the hub, install huggingface_hub: pip install huggingface_hub"
        ) from None
    repository, _, revision = name.partition("@")
    folder = _cache() / (name.replace("/", "--"))
    try:
        huggingface_hub.snapshot_download(
            repository,
            revision=revision or None,
            local_dir=folder,
            library_name="frame",  # real files: links in a run's folder are refused
        )
    except errors.LocalEntryNotFoundError:
        reason = "the hub cannot be reached, and it was not read before"
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError):
        reason = "the hub has none, or it is private: sign in with `hf auth login`"
    except errors.HFValidationError as error:
        reason = str(error).splitlines()[0]
    except (errors.HfHubHTTPError, OSError) as error:
        lines = str(error).strip().splitlines()
        reason = lines[0][:160] if lines else type(error).__name__
    except Exception as error:  # libraries below it raise their own kinds without a network
        reason = f"{type(error).__name__}: {next(iter(str(error).strip().splitlines()), '')[:160]}"
    else:
        return folder
    raise UserError(f"no folder {name} here, and no export of this name from the hub: {reason}")


def _cache() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME", "")
    return Path(cache if os.path.isabs(cache) else os.path.expanduser("~/.cache"), "frame", "hub")
