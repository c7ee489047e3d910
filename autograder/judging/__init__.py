"""What a hidden test imports: arguments of every form, how close an answer is, what runs on the student's side.

from autograder.judging import Contract, close, floats, student_side
"""

from autograder.judging.arguments import (
    Argument,
    constant,
    floats,
    frozen,
    integers,
    labels,
    numbers,
    one_of,
    stepped,
)
from autograder.judging.asking import SEEDS, Asked
from autograder.judging.closeness import (
    EPS,
    Comparison,
    close,
    failures,
    is_array,
    relative_error,
    sum_rounding,
)
from autograder.judging.contract import Case, Contract, random_states_kept
from autograder.judging.over_there import on_large, student_side
from autograder.judging.raising import NothingRaised, raises_student
from autograder.judging.rank_programs import OnRanks, on_ranks
from autograder.submission import StudentError

__all__ = [
    "EPS",
    "SEEDS",
    "Argument",
    "Asked",
    "Case",
    "Comparison",
    "Contract",
    "NothingRaised",
    "OnRanks",
    "StudentError",
    "close",
    "constant",
    "failures",
    "floats",
    "frozen",
    "integers",
    "is_array",
    "labels",
    "numbers",
    "on_large",
    "on_ranks",
    "one_of",
    "raises_student",
    "random_states_kept",
    "relative_error",
    "stepped",
    "student_side",
    "sum_rounding",
]
