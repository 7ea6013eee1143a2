"""How a command fails: one exception is one exit code and one sentence on standard error."""


class CommandFailed(Exception):
    """The command was understood and could not be done."""

    exit_code = 1


class Refused(CommandFailed):
    """The gateway has heard it and will not do it; its words are the text."""


class WrongUsage(CommandFailed):
    """The command makes no sense as it was given."""

    exit_code = 2


class NoGateway(CommandFailed):
    """No gateway answers there (EX_UNAVAILABLE)."""

    exit_code = 69


class TryLater(CommandFailed):
    """The gateway is starting, stopping or full: the same command may do later (EX_TEMPFAIL)."""

    exit_code = 75


class BadConfiguration(CommandFailed):
    """The configuration that was to name the gateway cannot be used (EX_CONFIG)."""

    exit_code = 78


class Interrupted(CommandFailed):
    """A signal has ended it: ^C, SIGTERM. ``said`` is what is worth knowing then."""

    def __init__(self, number: int, said: str = "") -> None:
        super().__init__(said)
        self.number = number
        self.exit_code = 128 + number
