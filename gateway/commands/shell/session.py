"""Statements run one by one: queries on their own route, all else on ``/ksql``.

Owns: the properties and variables that SET and DEFINE leave for what follows. Must never know:
terminals' keys.
"""

import contextlib
from typing import Any

from gateway.client import Client
from gateway.commands.door import Door, told
from gateway.commands.entities import print_entity
from gateway.commands.failures import Refused
from gateway.commands.query import print_result
from gateway.commands.results import Form
from gateway.commands.shell.statements import statements
from protocol.errors import BadStatement
from protocol.lexer import Piece
from protocol.query_text import is_query
from protocol.statements import (
    DefineVariable,
    SetProperty,
    UndefineVariable,
    UnsetProperty,
    parse_statements,
)
from protocol.variables import substitute


class Session:
    """What a person or a script says to one gateway."""

    def __init__(self, client: Client, door: Door, form: Form) -> None:
        self._client = client
        self._door = door
        self._form = form
        self._properties: dict[str, Any] = {}
        self._variables: dict[str, Any] = {}

    async def run(self, text: str) -> bool:
        """Run every statement, up to the first that fails; whether there were others than queries.

        Raises `CommandFailed`.
        """
        try:
            pieces = statements(text)
        except BadStatement as bad:
            raise Refused(bad.message) from None
        for piece in pieces:
            with told(self._door):
                await self._one(piece)
        return not all(map(is_query, pieces))

    async def _one(self, piece: Piece) -> None:
        if is_query(piece):
            sql = self._filled(piece.text)
            await print_result(self._client, sql, self._properties, self._form)
            return
        entities = await self._client.ksql(
            piece.text, properties=self._properties, variables=self._variables
        )
        self._remember(piece)
        for entity in entities:
            print_entity(entity, as_json=self._form == "json")

    def _filled(self, sql: str) -> str:
        try:
            return substitute(sql, self._variables)
        except BadStatement as bad:
            raise Refused(bad.message) from None

    def _remember(self, piece: Piece) -> None:
        """The gateway forgets SET and DEFINE with the request that they came in."""
        # It has been taken by the gateway: what is no such statement is none here either.
        with contextlib.suppress(BadStatement):
            for statement in parse_statements(piece.text, self._variables):
                match statement:
                    case SetProperty(name=name, value=value):
                        self._properties[name] = value
                    case UnsetProperty(name=name):
                        self._properties.pop(name, None)
                    case DefineVariable(name=name, value=value):
                        self._variables[name] = value
                    case UndefineVariable(name=name):
                        self._variables.pop(name, None)
