"""The one exception that means "the user can mend this": everything else is a bug and keeps its traceback."""


class UserError(ValueError):
    """A mistake in what the user gave: a value, a path, a file.

    The message is one line that names the key or file, the value found, and the mend. The command line
    prints it alone and exits with code 2.
    """
