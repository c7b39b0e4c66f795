#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Suite sv1 in Python: checks the vectors of the file that is its argument, then prints a text sealed by Python.

It is written by the package doc, on the HPKE of the package cryptography (47 or later, with OpenSSL 3.5 or later).
"""
import base64
import hashlib
import json
import re
import sys

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import (
    AEAD, KDF, KEM, MLKEM768X25519PrivateKey, MLKEM768X25519PublicKey, Suite)

SUITE = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
TEXT = re.compile(r"sv1:([0-9a-f]{16}):([1-9][0-9]{0,11}|):([A-Za-z0-9_-]+)")


class Refused(Exception):
    pass


def private_key(seed):
    raw = hashlib.shake_256(seed).digest(96)
    return MLKEM768X25519PrivateKey(
        MLKEM768PrivateKey.from_seed_bytes(raw[:64]), X25519PrivateKey.from_private_bytes(raw[64:]))


def public_key(raw):
    return MLKEM768X25519PublicKey(
        MLKEM768PublicKey.from_public_bytes(raw[:1184]), X25519PublicKey.from_public_bytes(raw[1184:]))


def key_id(public):
    return hashlib.sha256(public).hexdigest()[:16]


def info(key, namespace, name, not_after, decrypters):
    strings = ["secret.grafana.app/sv1", key, namespace, name, str(not_after or "")]
    strings = [s.encode() for s in strings] + sorted({d.encode() for d in decrypters})
    return len(strings).to_bytes(4, "big") + b"".join(len(s).to_bytes(4, "big") + s for s in strings)


def padded(length):
    return next((size for size in (256, 512) if length <= size), -(-length // 1024) * 1024)


def parse(text):
    match = TEXT.fullmatch(text)
    if len(text) > 40 * 1024 or not match or int(match[2] or 0) > 253402300799:
        raise Refused
    encoded = match[3]
    try:
        ciphertext = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
    except ValueError as error:
        raise Refused from error
    if base64.urlsafe_b64encode(ciphertext).decode().rstrip("=") != encoded:
        raise Refused
    return match[1], int(match[2] or 0), ciphertext


def seal(public, value, namespace, name, decrypters=(), not_after=None):
    key = key_id(public)
    plaintext = len(value).to_bytes(4, "big") + value.ljust(padded(len(value)), b"\0")
    ciphertext = SUITE.encrypt(plaintext, public_key(public), info(key, namespace, name, not_after, decrypters))
    return f"sv1:{key}:{not_after or ''}:" + base64.urlsafe_b64encode(ciphertext).decode().rstrip("=")


def open_text(private, public, text, namespace, name, decrypters=(), not_after=None):
    key, date, ciphertext = parse(text)
    if key != key_id(public) or date != (not_after or 0):
        raise Refused
    try:
        plaintext = SUITE.decrypt(ciphertext, private, info(key, namespace, name, not_after, decrypters))
    except (InvalidTag, ValueError) as error:
        raise Refused from error
    length, rest = int.from_bytes(plaintext[:4], "big"), plaintext[4:]
    if length > len(rest) or len(rest) != padded(length) or rest[length:].strip(b"\0"):
        raise Refused
    return rest[:length]


def refuses(function, *arguments):
    try:
        function(*arguments)
    except Refused:
        return True
    return False


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        vectors = json.load(file)
    public = base64.b64decode(vectors["publicKey"])
    private = private_key(bytes.fromhex(vectors["privateKey"]))
    assert key_id(public) == vectors["keyID"]

    def binding(v):
        return v["namespace"], v["object"], v.get("decrypters", ()), v.get("notAfter")

    for v in vectors["texts"]:
        namespace, name, decrypters, not_after = binding(v)
        assert info(vectors["keyID"], namespace, name, not_after, decrypters).hex() == v["info"], v["name"]
        value = open_text(private, public, v["text"], *binding(v))
        assert value == base64.b64decode(v.get("value", "")), v["name"]
        assert len(parse(v["text"])[2]) == 1120 + 4 + 16 + v["sizeClass"], v["name"]
    for v in vectors["refused"]:
        parse(v["text"])
        assert refuses(open_text, private, public, v["text"], *binding(v)), v["name"]
    for v in vectors["malformed"]:
        assert refuses(parse, v["text"]), v["name"]
    print(seal(public, b"sealed in Python", "ns", "from-python", ["a", "b"], 1893456000))


if __name__ == "__main__":
    main()
