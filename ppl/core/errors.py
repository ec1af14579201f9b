"""The one kind of error that a person at the keyboard can mend."""


class InputError(ValueError):
    """Something in the settings, the data or the files that the user can correct.

    The message says what came, what was expected and what to do. A stage prints it without a
    traceback; every other exception keeps its traceback, because only we can mend those.
    """
