"""The distributions of a sweep file, each as its inverse distribution function, of a number in [0, 1).

Random search draws that number, and a sampler such as TPE searches in it; for a log-uniform distribution it searches in
the logarithm. Names and arguments are those of W&B's sweep configuration.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

from frame.common.errors import UserError, choices


@dataclass(frozen=True)
class Distribution:
    """The distribution of one parameter: `at(u)` for u in [0, 1), and `values` if there are finitely many."""

    at: Callable[[float], Any]
    values: Sequence[Any] | None = None


def _uniform(low: float, high: float) -> Callable[[float], float]:
    return lambda u: low + u * (high - low)


def _log(inner: Callable[[float], float], sign: int = 1) -> Callable[[float], float]:
    return lambda u: math.exp(sign * inner(u))


def _normal(mu: float, sigma: float) -> Callable[[float], float]:
    normal = NormalDist(mu, sigma)
    return lambda u: normal.inv_cdf(min(max(u, 1e-12), 1 - 1e-12))


def _beta(a: float, b: float) -> Callable[[float], float]:
    from scipy.special import betaincinv  # slow to import, and rarely needed

    return lambda u: float(betaincinv(a, b, u))


# by name: the arguments with their defaults, and the function that makes `at` from them
REQUIRED = object()
MOST = 100_000  # multiples of q that are listed
SHAPES: dict[str, tuple[dict[str, Any], Callable[..., Callable[[float], float]]]] = {
    "uniform": ({"min": REQUIRED, "max": REQUIRED}, _uniform),
    "log_uniform": ({"min": REQUIRED, "max": REQUIRED}, lambda low, high: _log(_uniform(low, high))),  # exponents of e
    "log_uniform_values": (
        {"min": REQUIRED, "max": REQUIRED},
        lambda low, high: _log(_uniform(math.log(low), math.log(high))),
    ),
    # log(1 / x) is uniform
    "inv_log_uniform": ({"min": REQUIRED, "max": REQUIRED}, lambda low, high: _log(_uniform(low, high), -1)),
    "inv_log_uniform_values": (
        {"min": REQUIRED, "max": REQUIRED},
        lambda low, high: _log(_uniform(-math.log(high), -math.log(low)), -1),
    ),
    "normal": ({"mu": 0.0, "sigma": 1.0}, _normal),
    "log_normal": ({"mu": 0.0, "sigma": 1.0}, lambda mu, sigma: _log(_normal(mu, sigma))),
    "beta": ({"a": REQUIRED, "b": REQUIRED}, _beta),
}
QUANTIZED = (
    "uniform",
    "log_uniform",
    "log_uniform_values",
    "normal",
    "log_normal",
    "beta",
)  # with `q_` before the name
NAMES = (*SHAPES, *(f"q_{name}" for name in QUANTIZED), "int_uniform", "categorical", "constant")


def distribution(name: str, spec: Mapping[str, Any]) -> Distribution:
    """The distribution that a sweep file gives a parameter.

    Without `distribution`, `value` is a constant, `values` are equally likely (or by `probabilities`), and `min` and
    `max` are uniform, over the integers if both are integers.

    Args:
        name: the parameter's name, for messages.
        spec: `distribution` and its arguments.

    Raises:
        UserError: the distribution is unknown, or its arguments are missing, unknown, or not a range.
    """
    given = dict(spec)
    kind = str(given.pop("distribution", None) or _implied(name, given))
    if kind == "categorical_w_probabilities":
        kind = "categorical"
    if kind not in NAMES:
        raise UserError(f"{name}: {choices(kind, NAMES, kind='distribution')}")
    if kind == "constant":
        _check(name, kind, given, {"value": REQUIRED})
        return Distribution(lambda u: given["value"], (given["value"],))
    if kind == "categorical":
        _check(name, kind, given, {"values": REQUIRED, "probabilities": None})
        return _categorical(name, given["values"], given.get("probabilities"))
    if kind == "int_uniform":
        _check(name, kind, given, {"min": REQUIRED, "max": REQUIRED})
        low, high = _numbers(name, given, ("min", "max"))
        return _integers(name, int(low), int(high))
    return _continuous(name, kind, given)


def _continuous(name: str, kind: str, given: Mapping[str, Any]) -> Distribution:
    """One of SHAPES, or of multiples of `q`."""
    shape = kind.removeprefix("q_")
    arguments, make = SHAPES[shape]
    _check(name, kind, given, arguments | ({"q": 1.0} if kind.startswith("q_") else {}))
    numbers = _numbers(name, arguments | dict(given), [*arguments])
    _check_range(name, kind, dict(zip(arguments, numbers, strict=True)))
    try:
        at = make(*numbers)
        if not math.isfinite(at(0.999)):
            raise OverflowError
    except OverflowError:
        raise UserError(f"{name}: min and max of {kind} are exponents of e; for values write {kind}_values") from None
    if not kind.startswith("q_"):
        return Distribution(at)
    (q,) = _numbers(name, {"q": 1.0} | dict(given), ["q"])
    return _multiples(name, at, q, numbers if shape == "uniform" else None)


def _check_range(name: str, kind: str, numbers: Mapping[str, float]) -> None:
    """Raises UserError if the arguments of a continuous distribution are not a range, or not valid for its shape."""
    if "min" in numbers and not numbers["min"] < numbers["max"]:
        raise UserError(f"{name}: min {numbers['min']:g} must be below max {numbers['max']:g}")
    if kind.endswith("_values") and not numbers["min"] > 0:
        raise UserError(f"{name}: min {numbers['min']:g} must be above 0 in {kind}; log_uniform takes exponents of e")
    positive = [key for key in ("sigma", "a", "b") if key in numbers]
    if not all(numbers[key] > 0 for key in positive):
        raise UserError(f"{name}: {', '.join(positive)} of {kind} must be above 0")


def _multiples(name: str, at: Callable[[float], float], q: float, ends: Sequence[float] | None) -> Distribution:
    """The distribution rounded to multiples of q. If it is uniform between `ends`, its values are listed."""
    if not q > 0 or not math.isfinite(max(abs(at(0.0)), abs(at(0.999))) / q):
        raise UserError(f"{name}: q={q} must be above 0, and not too small for the range")
    rounded = _rounded(at, q)
    low, high = (round(end / q) for end in ends) if ends is not None else (0, MOST)
    listed = tuple(_times(n, q) for n in range(low, high + 1)) if high - low < MOST else None
    return Distribution(rounded, listed)


def _implied(name: str, given: Mapping[str, Any]) -> str:
    if "value" in given:
        return "constant"
    if "values" in given:
        return "categorical"
    if {"min", "max"} <= set(given):
        return "int_uniform" if all(isinstance(given[key], int) for key in ("min", "max")) else "uniform"
    raise UserError(f"{name}: give it value, values, min and max, or a distribution")


def _check(name: str, kind: str, given: Mapping[str, Any], arguments: Mapping[str, Any]) -> None:
    for key in given:
        if key not in arguments:
            raise UserError(f"{name}: {choices(str(key), arguments, kind=f'argument of {kind}')}")
    missing = [key for key, default in arguments.items() if default is REQUIRED and key not in given]
    if missing:
        raise UserError(f"{name}: {kind} needs {' and '.join(missing)}")


def _numbers(name: str, given: Mapping[str, Any], wanted: Sequence[str]) -> list[float]:
    return [number(name, key, given[key]) for key in wanted]


def number(name: str, key: object, value: Any) -> float:
    """A finite number; '1e-5' is a string to YAML."""
    try:
        found = float(value) if not isinstance(value, bool) else math.nan
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if not math.isfinite(found):
        raise UserError(f"{name}: {key}={value!r} is not a number")
    return found


def _categorical(name: str, values: Any, probabilities: Any) -> Distribution:
    if not isinstance(values, list) or not values:
        raise UserError(f"{name}: values must be a list with something in it")
    if probabilities is None:
        n = len(values)
        return Distribution(lambda u: values[min(int(u * n), n - 1)], tuple(values))
    if not isinstance(probabilities, list) or len(probabilities) != len(values):
        raise UserError(f"{name}: probabilities needs a number for each of its {len(values)} values")
    weights = _numbers(name, dict(enumerate(probabilities)), range(len(values)))  # type: ignore[arg-type]
    if min(weights) < 0 or not math.isclose(sum(weights), 1, abs_tol=1e-6):
        raise UserError(f"{name}: probabilities must be at least 0 and sum to 1")

    def at(u: float) -> Any:
        for value, weight in zip(values, weights, strict=True):
            u -= weight
            if u < 0:
                return value
        return values[-1]

    return Distribution(at, tuple(values))


def _integers(name: str, low: int, high: int) -> Distribution:
    if low > high:
        raise UserError(f"{name}: min {low} must be at most max {high}")
    if not -(2**62) < low <= high < 2**62:
        raise UserError(f"{name}: min {low} and max {high} are too far apart")
    n = high - low + 1
    values = range(low, high + 1)  # a range is not listed if it is long
    return Distribution(lambda u: low + min(int(u * n), n - 1), tuple(values) if n < MOST else values)


def _rounded(at: Callable[[float], float], q: float) -> Callable[[float], float]:
    return lambda u: _times(round(at(u) / q), q)


def _times(n: int, q: float) -> float:
    """n q, rounded such that 3 * 0.1 is 0.3; an integer if q is one."""
    return n * int(q) if q == int(q) else float(f"{n * q:.12g}")
