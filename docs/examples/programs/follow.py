# SPDX-License-Identifier: Apache-2.0
"""Follows secure values: connect() gets each value, and each new one. README.md describes how to run it."""

import argparse
import http.client
import json
import random
import ssl
import struct
import time
import urllib.parse

SILENCE = 90  # seconds; an open stream has an event every 30
CALL = 10  # seconds
PAUSES = (0.1, 10)  # seconds between streams: the first, and the longest


class Failure(Exception):
    """Says what failed and what to do about it. No value is ever in it."""


class Server:
    def __init__(self, options):
        self.options = options
        self.host = urllib.parse.urlsplit(options.decrypt).netloc

    def post(self, path, content_type, body, timeout):
        """Sends a request with the CA and the token of now: both files are replaced while the program runs."""
        options = self.options
        context = ssl.create_default_context(cadata=read(options.ca))
        connection = http.client.HTTPSConnection(self.host, context=context, timeout=CALL)
        connection.connect()
        connection.sock.settimeout(timeout)
        headers = {
            "Authorization": "Bearer " + read(options.token_file).strip(),
            "Content-Type": content_type,
            "Connection": "close",
        }
        connection.request("POST", path, body, headers)
        response = connection.getresponse()
        if response.status == 200:
            return response
        with response:
            try:
                error = json.load(response)
            except ValueError:  # not of this server
                error = {}
        raise self.failure(error.get("code"), error.get("message", f"HTTP status {response.status}"))

    def failure(self, code, message):
        options = self.options
        if code == "unauthenticated":
            return Failure(f"{options.decrypt} does not accept the token in {options.token_file}: it must be issued "
                           "for audience secret.grafana.app, and not be expired")
        if code == "permission_denied":
            return Failure(f"not authorized in namespace {options.namespace}: an administrator gives permission by "
                           "`kubectl securevalue grant`, without a cluster by `secret-apiserver grant`")
        return Failure(f"{options.decrypt} answers {code}: {message}")

    def fetch(self, name):
        """Returns a value with its uid and version, and without a value why there is none."""
        body = json.dumps({"namespace": self.options.namespace, "names": [name]})
        path = "/decryptv1beta1.SecureValueDecrypter/DecryptSecureValues"
        with self.post(path, "application/json", body, CALL) as response:
            result = json.load(response)["decryptedValues"][name]
        return result.get("value"), state(result), result.get("errorMessage")

    def watch(self, names):
        """Yields a name with the uid and version that can be fetched now, for each name and for each change."""
        body = json.dumps({"namespace": self.options.namespace, "names": names}).encode()
        body = struct.pack(">BI", 0, len(body)) + body
        path = "/secretwatch.v1.SecureValueWatcher/Watch"
        with self.post(path, "application/connect+json", body, SILENCE) as response:
            while True:
                flags, length = struct.unpack(">BI", exactly(response, 5))
                message = json.loads(exactly(response, length))
                if flags & 2:  # the end
                    if error := message.get("error"):
                        raise self.failure(error.get("code"), error.get("message", ""))
                    return
                if name := message.get("name"):  # no heartbeat
                    yield name, state(message)


def read(path):
    with open(path, encoding="ascii") as file:
        return file.read()


def state(message):
    return message.get("uid", ""), int(message.get("version", 0))


def exactly(response, length):
    data = response.read(length)
    if len(data) < length:
        raise ConnectionError("the stream was cut")
    return data


def follow(server, names, connect):
    """Calls connect with each value and with each new one. A value that goes away stays in use."""
    options, held, ready, pause = server.options, {}, False, PAUSES[0]
    while True:
        began = time.monotonic()
        try:
            for name, newest in server.watch(names):
                if held.get(name) == newest:
                    continue
                value, fetched, refusal = server.fetch(name) if newest[1] else (None, newest, "not found")
                if refusal == "not found":
                    print(f"{name}: not found: it does not exist in namespace {options.namespace}, or is not granted "
                          "to this program; see `kubectl securevalue who-can-decrypt`", flush=True)
                elif refusal:
                    raise Failure(f"{name}: {refusal}; the log of the server says why")
                elif held.get(name) != fetched:
                    connect(name, value)
                held[name] = fetched
                if not ready and all(held.get(name, ("", 0))[1] for name in names):
                    ready = True
                    print("ready", flush=True)
        except ssl.SSLCertVerificationError as error:
            print(f"{options.ca} does not have the CA of {options.decrypt}: mount ConfigMap secret-ca (key ca.crt) "
                  f"there ({error.verify_message})", flush=True)
        except (OSError, http.client.HTTPException) as error:
            print(f"retrying {options.decrypt}: {error} (in a cluster this Pod and its namespace need the label "
                  "secret.grafana.app/decrypt=allowed)", flush=True)
        except Failure as failure:
            print(failure, flush=True)
        if time.monotonic() - began > 60:
            pause = PAUSES[0]
        time.sleep(pause * random.uniform(1, 1.5))  # not all programs at the same time
        pause = min(2 * pause, PAUSES[1])


def connect(name, password):
    """Stands for what a program does with its password. It prints the length, never the value."""
    print(f"{name}: connected with a password of {len(password.encode())} bytes", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--decrypt", default="https://127.0.0.1:8444", help="address of the decrypt port")
    parser.add_argument("--ca", default="data/pki/ca.crt", help="file with the CA of the decrypt port")
    parser.add_argument("--token-file", required=True, help="file with the token of this program for the decrypt port")
    parser.add_argument("--namespace", default="default", help="namespace of the values")
    parser.add_argument("names", nargs="+", metavar="NAME", help="name of a secure value")
    options = parser.parse_args()
    follow(Server(options), options.names, connect)


if __name__ == "__main__":
    main()
