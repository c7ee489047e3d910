"""The error that a person caused and can mend: one line, no traceback."""


class UserError(Exception):
    """Bad input. `str(error)` is one line that says what is wrong, where, and what to do."""
