"""Colours and markers of all figures; nothing here imports torch."""

# Okabe & Ito 2008, "Color universal design": colours that people who do not see red and green tell apart; their yellow
# is darker here, since points stand on white
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#000000", "#B3A600")
MARKERS = "os^vDPX<>*p"  # 11 shapes, so that 88 classes have a shape and a colour that no other has
