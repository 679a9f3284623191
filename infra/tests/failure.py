"""How a check fails."""


class CheckFailed(Exception):
    """A check found a mismatch, or could not run."""


def expect(holds, what):
    if not holds:
        raise CheckFailed(what)
