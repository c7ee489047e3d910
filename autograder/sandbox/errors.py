"""What goes wrong with the sandbox itself; neither is ever the student's doing."""


class SandboxUnavailable(Exception):
    """This machine cannot give the sandbox. `reason` says why, `remedy` what to do; each is one line."""

    def __init__(self, reason: str, remedy: str):
        super().__init__(f"{reason}; {remedy}")
        self.reason, self.remedy = reason, remedy


class SandboxFault(Exception):
    """The sandbox broke while in use. A grader retries, then asks for a person; never a zero."""
