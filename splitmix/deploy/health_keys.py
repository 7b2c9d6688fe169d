"""Checks of keys and certificates of a fleet: dates, chain, host, who may read them, whether they belong together."""

from __future__ import annotations

import stat
from collections.abc import Sequence
from datetime import datetime, timezone
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    load_pem_private_key,
    load_ssh_private_key,
    load_ssh_public_key,
)

from splitmix.errors import UserError

SOON_DAYS = 30
NEW_CERTIFICATES = "make the fleet's folder again (splitmix deploy-init … force=true)"


def read_certificate(path: Path) -> x509.Certificate:
    """A certificate whose dates include now (UserError)."""
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
    except ValueError as error:
        raise UserError(f"{path}: no certificate ({error}); restore it from the fleet's folder") from error
    now = datetime.now(timezone.utc)
    if now < certificate.not_valid_before_utc:
        begin = f"{certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
        raise UserError(f"{path}: counts only from {begin} on, and the clock says {now:%Y-%m-%d %H:%M}; set the clock")
    if now > certificate.not_valid_after_utc:
        raise UserError(f"{path}: ended on {certificate.not_valid_after_utc:%Y-%m-%d}; {NEW_CERTIFICATES}")
    return certificate


def until(certificate: x509.Certificate) -> str:
    """How long a certificate counts, in words."""
    days = (certificate.not_valid_after_utc - datetime.now(timezone.utc)).days
    soon = f", only {days} more days: {NEW_CERTIFICATES} in time" if days < SOON_DAYS else ""
    return f"until {certificate.not_valid_after_utc:%Y-%m-%d}{soon}"


def check_authority(path: Path) -> str:
    """The authority's certificate."""
    certificate = read_certificate(path)
    try:
        is_authority = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        is_authority = False
    if not is_authority:
        raise UserError(f"{path}: is no authority's certificate; restore ca.crt from the fleet's folder")
    return until(certificate)


def check_date(path: Path) -> str:
    """This machine's clock, where no server answers: a certificate counts now."""
    begin = read_certificate(path).not_valid_before_utc
    now = f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC"
    return f"{now}, after {begin:%Y-%m-%d}, when the fleet was made; no server to ask"


def check_server_certificate(path: Path, authority: Path, needed: Sequence[str]) -> str:
    """The server's certificate: signed by the authority, for the hosts by which devices and itself reach it."""
    certificate = read_certificate(path)
    try:
        certificate.verify_directly_issued_by(read_certificate(authority))
    except (InvalidSignature, ValueError, TypeError) as error:
        raise UserError(f"{path}: is not signed by {authority}; take both from one fleet's folder") from error
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound as error:
        raise UserError(f"{path}: names no host; {NEW_CERTIFICATES}") from error
    hosts = [*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress))]
    for host in needed:
        if same(host) not in map(same, hosts):
            raise UserError(f"{path}: is for {', '.join(hosts)}, not for {host}; {NEW_CERTIFICATES}")
    return f"for {needed[0]}, {until(certificate)}"


def same(host: str) -> str:
    """A host in the one way of writing it."""
    try:
        return str(ip_address(host))
    except ValueError:
        return host.lower()


def check_private(path: Path) -> None:
    """Refuse a private key that others than its owner may read (UserError)."""
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise UserError(f"{path}: others may read this private key (mode {mode:04o}); chmod 600 {path}")


def check_server_key(path: Path, certificate: Path) -> str:
    """The server's private key: its owner's alone, and that of the certificate."""
    check_private(path)
    try:
        key = load_pem_private_key(path.read_bytes(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise UserError(f"{path}: no private key; restore it from the fleet's folder") from error
    if key.public_key() != read_certificate(certificate).public_key():
        raise UserError(f"{path}: is not the key of {certificate}; take both from one fleet's folder")
    return "is that of the certificate, its owner's alone"


def check_node_key(path: Path, public: Path) -> str:
    """A node's private key: its owner's alone, and the one whose public half the server has."""
    check_private(path)
    try:
        key = load_ssh_private_key(path.read_bytes(), None)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise UserError(f"{path}: no private key; restore it from the fleet's folder") from error
    if key.public_key() != read_public(public):
        raise UserError(f"{path}: is not the key of {public}; take both from one node's folder")
    return "is that of node.pub, its owner's alone"


def read_public(path: Path) -> ec.EllipticCurvePublicKey:
    """The public key of a node (UserError)."""
    try:
        key = load_ssh_public_key(path.read_bytes())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise UserError(f"{path}: no public key; restore it from the node's folder") from error
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise UserError(f"{path}: not a key on an elliptic curve, which Flower needs; restore it")
    return key


def check_registered(folder: Path, expected: list[str]) -> str:
    """The public keys of the nodes that the server registers: one for each client of the fleet, each another."""
    keys: dict[bytes, str] = {}
    for name in expected:
        numbers = read_public(folder / name / "node.pub").public_numbers()
        point = f"{numbers.x} {numbers.y}".encode()
        if point in keys:
            raise UserError(f"{folder}: {keys[point]} and {name} have the same key; give each node its own")
        keys[point] = name
    left = [name for name in expected if (folder / name / "node.key").exists()]
    beside = (
        f"; private keys still here: {', '.join(left)[:200]} (delete them once the nodes have them)" if left else ""
    )
    return f"{len(keys)} nodes{beside}"
