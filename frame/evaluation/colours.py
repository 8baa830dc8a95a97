"""Colours, markers and kinds of lines of all figures; nothing here imports torch."""

# Okabe & Ito 2008, "Color universal design": colours that people with red-green colour blindness can tell apart. The
# yellow is darker here, because points are drawn on white.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#000000", "#B3A600")
MARKERS = "os^vDPX<>*p"  # 11 shapes in 8 colours: 88 classes look different
LINES = ("-", "--", "-.", ":")


def look(i: int) -> tuple[str, str]:
    """The colour and the marker of the i-th of several classes or lines."""
    return COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]
