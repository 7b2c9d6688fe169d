"""Checks of the way from a node to its server: port, TLS, clock."""

from __future__ import annotations

import socket
import ssl
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from http.client import HTTPException, HTTPSConnection
from pathlib import Path

from splitmix.errors import UserError

AHEAD_S, BEHIND_S = 5.0, 300.0
"""Flower's server takes a node's signature whose time is so far ahead of its own clock, or so far behind it."""


def check_port(host: str, port: int, seconds: float) -> str:
    """Whether something listens there."""
    try:
        with socket.create_connection((host, port), seconds):
            return f"{host}:{port} answers"
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(
            f"{host}:{port} does not answer ({reason}); start the server, open the port in its firewall, or mend"
            " ADDRESS in fleet.env"
        ) from error


def check_free(host: str, port: int) -> str:
    """Whether the server could listen there."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise UserError(
                f"port {port} cannot be listened on ({error.strerror}); end what uses it, or change PORT in fleet.env"
            ) from error
    return f"port {port} is free, the server is not started"


def server_date(host: str, port: int, authority: Path, seconds: float) -> datetime:
    """The time by the server's clock, asked over TLS; the server proves that it is this fleet's.

    Raises:
        UserError: no connection, or not a server with a certificate of the authority for this host.
    """
    try:
        context = ssl.create_default_context(cafile=str(authority))
        connection = HTTPSConnection(host, port, timeout=seconds, context=context)
        try:
            connection.request("HEAD", "/")
            date = connection.getresponse().headers["date"]
        finally:
            connection.close()
        return parsedate_to_datetime(date)
    except ssl.SSLCertVerificationError as error:
        raise UserError(
            f"{host}:{port}: its certificate is refused ({error.verify_message}); take ca.crt from the folder of the"
            " server's fleet, and reach the server by the host that its certificate names"
        ) from error
    except ssl.SSLError as error:
        raise UserError(f"{host}:{port}: no TLS there ({error.reason}); start the server by server/start.sh") from error
    except (HTTPException, OSError, TypeError, ValueError) as error:
        raise UserError(f"{host}:{port}: no answer over TLS ({error}); start the server by server/start.sh") from error


def check_tls(host: str, port: int, authority: Path, seconds: float) -> str:
    """The server's certificate, as a node sees it."""
    server_date(host, port, authority, seconds)
    return f"{host}:{port} has a certificate of this fleet"


def check_clock(host: str, port: int, authority: Path, seconds: float) -> str:
    """This machine's clock against the server's."""
    before = datetime.now(timezone.utc)
    there = server_date(host, port, authority, seconds)
    after = datetime.now(timezone.utc)
    # The server told its time, in whole seconds cut off, at some moment between these two.
    unknown = (after - before).total_seconds() / 2
    ahead = (before - there).total_seconds() + unknown - 0.5
    difference = f"{abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} the server's"
    if ahead - unknown > AHEAD_S or ahead + unknown < -BEHIND_S:
        raise UserError(
            f"{difference}, and the server refuses this node's signatures; set the clock (timedatectl set-ntp 1)"
        )
    return f"{difference}; up to {AHEAD_S:g} s ahead or {BEHIND_S:g} s behind are taken"
