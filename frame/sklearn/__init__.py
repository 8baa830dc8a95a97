"""frame's methods as transformers of scikit-learn."""

from frame.sklearn.representation import Representation as Representation

__all__ = ["Representation"]
