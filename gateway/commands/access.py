"""``headrace access``: lines for the users and tokens files, and what a principal may do.

Law: a password is never taken from an argument, where other processes and the shell's history would
see it: it is typed, or comes on standard input.
"""

import getpass
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from gateway.access.proofs import is_name
from gateway.access.rules import Rules
from gateway.access.settings import AccessSettings, Rule
from gateway.access.tokens import digest
from gateway.access.tokens import new_token as made_token
from gateway.access.users import BadPassword
from gateway.access.users import hash_password as hash_of
from gateway.commands.failures import BadConfiguration, CommandFailed, WrongUsage
from gateway.commands.output import print_documents, print_json
from gateway.config import ConfigError, load
from gateway.seams import Right

app = App(name="access", help="Who may do what: passwords, tokens, rules.")

_EVERYTHING = Rule(principal="*", rights=tuple(Right))

Name = Annotated[str, Parameter(help="the principal's name, as rules say it")]
Json = Annotated[bool, Parameter(help="print JSON", negative="", show_default=False)]


@app.command(name="hash-password")
def hash_password(name: Name) -> int:
    """Ask for a password; print the line for access.users_file.

    Without a terminal the password is the first line of standard input.
    """
    _require_name(name)
    try:
        print(f"{name}:{hash_of(_password())}")
    except BadPassword as error:
        raise WrongUsage(str(error)) from None
    return 0


@app.command(name="new-token")
def new_token(name: Name, *, json: Json = False) -> int:
    """Make a bearer token; print it, then the line for access.tokens_file.

    The token is nowhere else: give it to its user now.
    """
    _require_name(name)
    token = made_token()
    line = f"{name}:{digest(token)}"
    if json:
        print_json({"token": token, "line": line})
    else:
        print(f"token\t{token}\nline\t{line}")
    return 0


@app.command
def check(
    principal: Name,
    *,
    right: Annotated[Right | None, Parameter(help="only this right")] = None,
    name: Annotated[str, Parameter(help="on this stream or datasource", show_default=False)] = "",
    config: Annotated[Path | None, Parameter(help="the gateway's TOML file")] = None,
    json: Json = False,
) -> int:
    """Say what a principal may do by the rules of the configuration; exit code 1 if nothing.

    Without --name, the patterns that each right is granted for. No gateway is asked.
    """
    grants = _grants(principal, config, right, name)
    print_documents(grants, ("right", "names", "by"), as_json=json)
    if grants:
        return 0
    wanted = f"{right.value if right else 'anything'}{f' on {name}' if name else ''}"
    raise CommandFailed(f"no rule in access.rules grants {principal} {wanted}")


def _grants(
    principal: str, config: Path | None, right: Right | None, name: str
) -> list[dict[str, object]]:
    settings = _settings(config)
    rules = settings.rules if settings.asks else (_EVERYTHING,)
    found: list[dict[str, object]] = []
    for number, rule in enumerate(rules, start=1):
        by = f"access.rules {number}" if settings.asks else "nobody is asked who it is"
        for each in rule.rights:
            if right in (None, each) and _holds(rule, principal, each, name):
                names = "" if each is Right.ADMIN else " ".join(rule.names)
                found.append({"right": each.value, "names": names, "by": by})
    return found


def _holds(rule: Rule, principal: str, right: Right, name: str) -> bool:
    alone = Rules((rule,))
    return alone.grants(principal, right, name) if name else alone.knows(principal)


def _settings(config: Path | None) -> AccessSettings:
    # Every room is loaded for it: the other commands start faster without.
    from gateway.runtime.wiring import access_settings

    try:
        return access_settings(load(config, {}))
    except ConfigError as error:
        raise BadConfiguration(str(error)) from None


def _require_name(name: str) -> None:
    if ":" in name or not is_name(name):
        raise WrongUsage(
            f"{name!r} cannot be a name: it is printable, without colons and blanks around it, and "
            "not `anonymous`"
        )


def _password() -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    password = getpass.getpass("Password: ")
    if getpass.getpass("Again: ") != password:
        raise WrongUsage("these were two different passwords")
    return password
