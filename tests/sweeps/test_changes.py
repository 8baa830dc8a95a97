"""Whether a run would be made again as it was."""

from frame.sweeps.changes import _composed


def test_what_auto_left_out_is_no_change() -> None:
    words = ["experiment=digits_VAE", "evaluations=auto", "logging=csv"]
    now = _composed(words, {"callbacks": {"elbo_valid": {}, "samples": {}}})
    assert set(now["callbacks"]) == {"elbo_valid", "samples"} and "evaluations" not in now
