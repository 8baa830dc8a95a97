"""Finds a data set's files below data_root or big_data_root, downloads missing ones, and unpacks archives."""

import logging
import shutil
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from pathlib import Path

from frame.common.errors import UserError
from frame.common.files import write_whole
from frame.data.formats import broken


def find(folder: Path, names: Sequence[str]) -> Path | None:
    """The first of `names` that is a file in `folder`."""
    return next((folder / name for name in names if (folder / name).is_file()), None)


_trained_in: ContextVar[Path | None] = ContextVar("trained_in", default=None)


@contextmanager
def trained_in(folder: str | Path | None) -> Iterator[None]:
    """Within this context, a data set that is made also finds files by paths that are relative to `folder`."""
    token = _trained_in.set(Path(folder) if folder else None)
    try:
        yield
    finally:
        _trained_in.reset(token)


def roots(data_root: str | Path, big_data_root: str | Path | None) -> tuple[Path, ...]:
    """The folders that are searched for files, in this order. Files are downloaded into the first."""
    given = [Path(root).expanduser() for root in (data_root, big_data_root) if root is not None]
    where = _trained_in.get()
    return tuple(dict.fromkeys([*given, *([where / root for root in given] if where else [])]))


def places(data_root: str | Path, big_data_root: str | Path | None) -> tuple[Path, ...]:
    """The folders below which a relative path of the user's is searched for, in this order."""
    where = _trained_in.get()
    return tuple(dict.fromkeys([*([where] if where else []), Path(), *roots(data_root, big_data_root)]))


def missing(data_set: str, name: str, folders: Sequence[Path]) -> UserError:
    """An error that names the file, the folders that lack it, and what to do."""
    return UserError(
        f"{data_set}: {name} is missing in {' and '.join(map(str, folders))}: "
        "set device.data_root to the folder that has it, or device.download_files=true to fetch it"
    )


def download(data_set: str, path: Path, mirrors: Sequence[str], known_hash: str) -> Path:
    """Downloads the file `path.name` from the first mirror that has it, with a progress bar.

    It is written beside its place, checked and then moved there: a file at `path` is always whole.

    Args:
        data_set: its name, for the message.
        path: the file to write.
        mirrors: addresses that `path.name` is appended to.
        known_hash: '<algorithm>:<hexadecimal digest>'.

    Raises:
        UserError: no mirror gave a file with that hash, or it cannot be written.
    """
    import pooch  # imported here because it takes 0.2 s, and most runs download nothing

    pooch.get_logger().setLevel(logging.WARNING)
    reasons = []
    for mirror in mirrors:
        try:
            fetcher = pooch.HTTPDownloader(progressbar=True, chunk_size=1 << 18)
            pooch.retrieve(mirror + path.name, known_hash, path.name, path.parent, downloader=fetcher)
            path.chmod(0o644)  # a temporary file's 0600 would exclude others who share the folder
            return path
        except (OSError, ValueError) as error:  # all of requests' errors are OSErrors; a wrong hash is a ValueError
            reasons.append(_reason(error, path.parent))
    raise UserError(
        f"{data_set}: {path.name} could not be fetched ({'; '.join(dict.fromkeys(reasons))}): put it into "
        f"{path.parent} yourself, or set device.data_root to the folder that has it"
    )


def unpacked(
    data_set: str,
    roots: Sequence[Path],
    folder: str,
    wanted: Sequence[str],
    names: Sequence[str],
    archive: str,
    mirrors: Sequence[str],
    known_hash: str,
    fetch: bool,
) -> Path:
    """The first `<root>/<folder>` that has the files `wanted`.

    If there is none, the archive `<root>/<archive>` is unpacked beside itself, and downloaded before if it is missing.

    Args:
        data_set: its name, for messages.
        roots: folders of data sets.
        folder: the name of the data set's own folder, in roots and in the archive.
        wanted: names of files in it.
        names: the files of the archive that are unpacked.
        archive, mirrors, known_hash: as for `download`.
        fetch: whether a missing archive may be downloaded.

    Raises:
        UserError: a file is missing, the archive is broken or cannot be unpacked.
    """
    folders = [root / folder for root in roots]
    for there in folders:
        if all((there / name).is_file() for name in wanted):
            return there
    path = next((root / archive for root in roots if (root / archive).is_file()), None)
    if path is None:
        if not fetch:
            raise missing(data_set, next(n for n in wanted if not (folders[0] / n).is_file()), folders)
        path = download(data_set, roots[0] / archive, mirrors, known_hash)
    _unpack(path, folder, names)
    return path.parent / folder


def _unpack(archive: Path, folder: str, names: Sequence[str]) -> None:
    # by name, file by file, so that the archive cannot choose paths
    target = archive.parent / folder
    try:
        target.mkdir(parents=True, exist_ok=True)
        with tarfile.open(archive) as tar:
            for name in names:
                member = tar.extractfile(f"{folder}/{name}")
                assert member is not None, f"{name} in it is not a file"
                write_whole(target / name, partial(shutil.copyfileobj, member))
    except (tarfile.TarError, EOFError, zlib.error, KeyError, AssertionError) as error:
        raise broken(archive, str(error.args[0]) if error.args else "it ends early") from error
    except OSError as error:
        raise UserError(f"{archive} cannot be unpacked into {archive.parent}: {error}") from error


def _reason(error: Exception, folder: Path) -> str:
    import requests

    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"status {error.response.status_code} from {error.response.url}"
    if isinstance(error, requests.RequestException):
        return f"no connection to {error.request.url!r}" if error.request is not None else "no connection"
    if isinstance(error, ValueError):
        return "its hash is not the published one"
    return f"cannot write to {folder}: {getattr(error, 'strerror', None) or error}"
