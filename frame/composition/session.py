"""What a call of Python leaves as it found it: the state of the process that commands may change."""

import logging
import os
import random
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins

from frame.composition.folders import OwnFolder

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def unchanged() -> Iterator[None]:
    """After this block, the process is as it was, whatever a run did in it.

    That is: the working folder, the environment, sys.argv, sys.path and where modules are searched, signal handlers,
    filters of warnings, loggers, Hydra, and the random numbers, threads and switches of torch, numpy and Python.
    """
    with ExitStack() as stack:
        for restoring in (_places, _handlers, _loggers, _hydra, _numbers, _torch):
            stack.enter_context(restoring())
        stack.enter_context(warnings.catch_warnings())
        yield


@contextmanager
def _places() -> Iterator[None]:
    cwd, environment = os.getcwd(), dict(os.environ)
    argv, path, finders, folder = [*sys.argv], [*sys.path], [*sys.meta_path], OwnFolder.folder
    try:
        yield
    finally:
        sys.argv[:], sys.path[:], sys.meta_path[:], OwnFolder.folder = argv, path, finders, folder
        os.chdir(cwd)
        for name in os.environ.keys() - environment.keys():
            del os.environ[name]
        os.environ.update({name: value for name, value in environment.items() if os.environ.get(name) != value})


@contextmanager
def _handlers() -> Iterator[None]:
    here = threading.current_thread() is threading.main_thread()  # Python sets handlers in no other thread
    before = {number: signal.getsignal(number) for number in SIGNALS if here}
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None and signal.getsignal(number) is not handler:
                signal.signal(number, handler)


@contextmanager
def _loggers() -> Iterator[None]:
    known = [one for one in logging.root.manager.loggerDict.values() if isinstance(one, logging.Logger)]
    before = [(one, one.level, one.propagate, one.disabled, [*one.handlers]) for one in (logging.root, *known)]
    try:
        yield
    finally:
        for one, level, propagate, disabled, handlers in before:
            one.setLevel(level)
            one.propagate, one.disabled, one.handlers = propagate, disabled, handlers


@contextmanager
def _hydra() -> Iterator[None]:
    Plugins.instance()  # registers Hydra's own sources, the first time
    before, types = GlobalHydra.instance().hydra, dict(SourcesRegistry.instance().types)
    GlobalHydra.instance().clear()
    try:
        yield
    finally:
        GlobalHydra.instance().hydra = before  # asked for again: Hydra replaces these instances
        sources = SourcesRegistry.instance().types
        sources.clear()
        sources.update(types)


@contextmanager
def _numbers() -> Iterator[None]:
    import numpy

    before = random.getstate(), numpy.random.get_state()
    try:
        yield
    finally:
        random.setstate(before[0])
        numpy.random.set_state(before[1])


@contextmanager
def _torch() -> Iterator[None]:
    """Nothing, if torch is not loaded yet: then it has no state of the user's."""
    torch: Any = sys.modules.get("torch")
    if torch is None:
        yield
        return
    cudnn = torch.backends.cudnn
    switches = (cudnn.enabled, cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32)
    precision, deterministic = torch.get_float32_matmul_precision(), torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    threads, dtype = torch.get_num_threads(), torch.get_default_dtype()
    devices = [*range(torch.cuda.device_count())] if torch.cuda.is_initialized() else []
    try:
        with torch.random.fork_rng(devices), torch.enable_grad():
            yield
    finally:
        cudnn.enabled, cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32 = switches
        torch.set_float32_matmul_precision(precision)
        if torch.are_deterministic_algorithms_enabled() != deterministic:  # setting it imports torch's compiler
            torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        torch.set_default_dtype(dtype)
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
