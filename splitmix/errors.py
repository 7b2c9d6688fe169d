"""The exceptions that mean "the user can mend this": everything else is a bug and keeps its traceback."""


class UserError(ValueError):
    """A mistake in what the user gave: a value, a path, a file.

    The message is one line that names the key or file, the value found, and the mend. The command line
    prints it alone and exits with code 2.
    """


class NotTrusted(UserError):
    """A file names code that is not splitmix's own, and that the command did not name.

    Attributes:
        code: the class or function, as package.module.Name.
    """

    def __init__(self, message: str, code: str):
        super().__init__(message)
        self.code = code
