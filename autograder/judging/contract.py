"""What a docstring says of a function's arguments, said once, and what must hold whatever comes.

LOSS = Contract("mse_loss", X=numbers(40, 12), y=numbers(40), theta=floats(12))

for case in LOSS.cases(rng):
    assert close(submission.mse_loss(*case), loss(*case.exact), atol=..., typed=True)
LOSS.refuses(submission, rng, ValueError, y=[lambda y: y[:-1], lambda y: y[:, None]])
assert LOSS.leaves_no_trace(submission, rng)
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from autograder.judging.arguments import REQUIRED, Argument, constant
from autograder.judging.closeness import Comparison, noted
from autograder.judging.over_there import random_states, trace
from autograder.judging.raising import NothingRaised, raises_student


@dataclass(frozen=True)
class Case:
    """Arguments of one call, in order: `f(*case)`. `form` names what is unusual about them.

    `exact`: the same for an oracle: floats (and integers that stand for numbers) in float64, labels in int64; also the
    defaults of what the call leaves out.
    """

    args: tuple
    exact: tuple
    form: str = "plain"

    def __iter__(self) -> Iterator[Any]:
        return iter(self.args)

    @property
    def dtype(self) -> np.dtype:
        """float32 where all arrays of floats are float32 and no other numbers are among the arguments, else float64."""
        arrays = self._floats()
        single = arrays and all(array.dtype == np.float32 for array in arrays)
        return np.dtype(np.float32 if single else np.float64)

    @property
    def eps(self) -> float:
        """The machine epsilon of the narrowest floats among the arguments: what an answer may be off by, at least."""
        return max([float(np.finfo(a.dtype).eps) for a in self._floats() if a.dtype.kind == "f"], default=EPS64)

    def _floats(self) -> list[np.ndarray]:
        """The arrays that stand for numbers, and not for labels."""
        pairs = zip(self.args, self.exact, strict=False)  # where the call leaves some out, `exact` is longer
        return [np.asarray(a) for a, e in pairs if isinstance(a, np.ndarray | list) and np.asarray(e).dtype.kind == "f"]


EPS64 = float(np.finfo(np.float64).eps)


class Contract:
    """A function of the student's and its arguments, in order; what is no `Argument` is always the same value."""

    def __init__(self, name: str, /, **arguments: Any):
        self.name = name
        self.arguments = {
            key: value if isinstance(value, Argument) else constant(value) for key, value in arguments.items()
        }

    def plain(self, rng: np.random.Generator, **instead: Any) -> Case:
        """Arguments of the usual form, newly drawn; `instead` of some, these values, or what these functions make."""
        return self._case(rng, dict.fromkeys(self.arguments), instead=instead)

    def cases(self, rng: np.random.Generator, plain: int = 1) -> Iterator[Case]:
        """Every form of every argument: all of one form where they have it, and other dtypes and values one by one.

        `plain` usual ones come first, then the shortest call where the last arguments have defaults. Values are drawn
        anew for each case.
        """
        for _ in range(plain):
            yield self.plain(rng)
        if self._defaults():
            yield self.shortest(rng)
        forms = dict.fromkeys(form for argument in self.arguments.values() for form in argument.forms)
        for form in forms:
            having = [key for key, argument in self.arguments.items() if form in argument.forms]
            yield self._case(rng, {key: form if key in having else None for key in self.arguments}, form)
            for key in having if len(having) > 1 else ():
                if form in self.arguments[key].alone:
                    chosen = {other: form if other == key else None for other in self.arguments}
                    yield self._case(rng, chosen, f"{key}: {form}")

    def shortest(self, rng: np.random.Generator) -> Case:
        """Arguments of the usual form, without the last ones, those that have defaults."""
        case, defaults = self.plain(rng), self._defaults()
        needed = len(case.args) - len(defaults)
        return Case(case.args[:needed], (*case.exact[:needed], *defaults), "the defaults")

    def _defaults(self) -> list[Any]:
        """The defaults of the last arguments, as many as have one."""
        defaults = [argument.default for argument in self.arguments.values()]
        required = [i for i, default in enumerate(defaults) if default is REQUIRED]
        return defaults[required[-1] + 1 :] if required else defaults

    def refuses(
        self, submission: Any, rng: np.random.Generator, *errors: type[BaseException] | str, **bad: list
    ) -> None:
        """Assert that each of these values in place of a usual argument raises one of the errors.

        A function among them is given the usual value and makes a bad one of it.
        """
        for key, values in bad.items():
            for value in values:
                case = self.plain(rng, **{key: value})
                try:
                    with raises_student(*errors):
                        submission[self.name](*case)
                except NothingRaised as error:
                    raise NothingRaised(f"{error}: for `{key}`") from None

    def leaves_no_trace(
        self,
        submission: Any,
        rng: np.random.Generator,
        *,
        fresh: bool = True,
        then: Sequence[dict] = ({},),
        **refused: list,
    ) -> Comparison:
        """Whether calls change no argument, keep nothing for later calls and share no memory with anyone. Forgeable.

        Also calls with the `refused` values, which raise, and with each of the values `then` in place of usual ones
        (paths that return early). `fresh=False` where what is returned may be an argument or a part of one.
        """
        bad = [self.plain(rng, **{key: value}).args for key, values in refused.items() for value in values]
        for instead in then:
            pair = [list(self.plain(rng, **instead).args) for _ in range(2)]
            why = submission.run(trace, self.name, list(self.arguments), *pair, [list(args) for args in bad], fresh)
            why = why if isinstance(why, str) else "it could not be looked at"
            if why:
                return noted(Comparison(False, why, "no trace", why, f"{why[:1].upper()}{why[1:]}."))
        return Comparison(True, "", "")

    def _case(self, rng, forms: dict[str, str | None], name: str = "plain", instead: dict | None = None) -> Case:
        args, exact = [], []
        for key, argument in self.arguments.items():
            form = forms[key]
            value = (argument.forms[form] if form else argument.plain)(rng)
            if instead and key in instead:
                other = instead[key]
                value = other(value) if callable(other) and not _sent(other) else other
                args.append(value)
                exact.append(value)
                continue
            args.append(value)
            exact.append(argument.exact(value))
        return Case(tuple(args), tuple(exact), name)


def _sent(value: Callable) -> bool:
    """Whether a function is itself the argument: one that runs over there."""
    return getattr(value, "__lsml_student_side__", False)


def random_states_kept(submission: Any, call: str | Callable, *arguments: Any, python: bool = True) -> Comparison:
    """Whether a call neither uses nor changes the global random states of Python and NumPy. Forgeable.

    `call`: the name of what the student defined, or a helper that runs over there and returns what came.
    `python=False` where the docstring speaks of NumPy's state alone.
    """
    why = submission.run(random_states, call, list(arguments), python)
    why = why if isinstance(why, str) else "it could not be looked at"
    if why:
        return noted(Comparison(False, why, "no global random state", why, f"{why[:1].upper()}{why[1:]}."))
    return Comparison(True, "", "")
