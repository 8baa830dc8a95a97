"""When things happen."""

from frame.callbacks.doctor import Doctor as Doctor
from frame.callbacks.evaluation import EvaluationCallback as EvaluationCallback
from frame.callbacks.plateau import ReduceOnPlateau as ReduceOnPlateau
from frame.callbacks.stopping import EarlyStopping as EarlyStopping
