"""Errors that a user can act on: one line, what was expected, what was got, what to do.

Every room raises these at its doors; the command line prints them without a traceback and exits with status 2.
Next: files.py.
"""


class InputError(ValueError):
    """The caller's mistake: a value, a text or an option that cannot be used as given."""


class FileError(InputError):
    """A file or directory that is missing, broken, or not what its name promises."""


class TokenizerError(InputError):
    """Text or ids that the tokenizer cannot take, or vocabulary files that do not fit together."""
