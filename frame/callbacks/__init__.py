"""When things happen."""

from frame.callbacks.evaluation import EvaluationCallback as EvaluationCallback
from frame.callbacks.plateau import ReduceOnPlateau as ReduceOnPlateau
from frame.callbacks.stopping import EarlyStopping as EarlyStopping
