"""What can go wrong, as errors whose text is the one line that a user needs."""


class QllmError(Exception):
    """Something is broken; the message says what was given, what was expected and what to do."""


class UnavailableError(QllmError):
    """This environment cannot run it (a missing library or machine feature): a skip with its reason, not a loss."""


class QllmWarning(UserWarning):
    """Something works, but not as well as it could; the message says why."""
