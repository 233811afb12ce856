"""What can go wrong, said in one sentence that names the remedy."""


class DevclusterError(Exception):
    """A failure that the user can act on; the command line prints its text without a traceback."""
