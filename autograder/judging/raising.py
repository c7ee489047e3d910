"""What the student's code raises."""

import contextlib
from collections.abc import Iterator

from autograder.submission import StudentError


class NothingRaised(AssertionError):
    """The student's code did not raise where it should."""


@contextlib.contextmanager
def raises_student(*wanted: type[BaseException] | str) -> Iterator[None]:
    """Pass where the student's code raises one of these exceptions or a subclass of one, as `pytest.raises` does.

    A time or memory limit, or a function that is missing, is no such exception and goes on its way.
    """
    names = [name if isinstance(name, str) else name.__name__ for name in wanted]
    try:
        yield
    except StudentError as error:
        if not {error.type_name, *error.bases} & set(names):
            raise
    else:
        raise NothingRaised(f"nothing was raised, where {' or '.join(names)} should be")
