"""The line of the progress bar cuts no number."""

import pytest

from frame.callbacks.progress import fitted

PARTS = ["1.5/20 epochs", "12 min left", "loss 118.76", "ImageReconstruction/Validation -116.36", "ELBO/Train -117.19"]


@pytest.mark.parametrize("name", ["digits_VAE", "an_experiment_with_a_very_long_name_of_its_owner"])
@pytest.mark.parametrize("width", [20, 40, 72, 100, 200])
def test_whole_parts_fit_the_width(name: str, width: int) -> None:
    shown, text = fitted(name, PARTS, width)
    parts = text.split(" · ")
    assert parts == PARTS[: len(parts)] and len(parts) >= 2
    assert len(shown) + len(text) <= max(width, len(text) + 1)
    assert shown == name or shown.endswith("…") and name.startswith(shown[:-1])
    assert width < 200 or (shown, parts) == (name, PARTS)


def test_a_name_is_shortened_before_a_number_is_left_out() -> None:
    assert fitted("n" * 40, PARTS[:3], 70) == ("n" * 28 + "…", " · ".join(PARTS[:3]))
