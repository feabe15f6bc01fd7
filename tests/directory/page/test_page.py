"""The page's client against the built server, with the page's example. Standard library only.

    ACQUAINT_BIN=target/debug/acquaint python3 -m unittest discover -v -s tests/directory/page
"""

import base64
import hashlib
import http.server
import json
import os
import pathlib
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.error
import urllib.parse
import urllib.request

import client

START_S = 30
STOP_S = 30
NAMES_SOMEBODY = re.compile(r"8888888888|9999999999|@ex|johny|jhn|[0-9a-f]{40}")

# The page's example: two contacts, and a user with two identifiers.
CONTACTS = {"Johny": ["j@ex.com", "+918888888888"], "Jane d": ["+919999999999"]}
JHN = ("jhn", "aobEdbYhXfu5hkeqG")
JHNS_IDENTIFIERS = ["johny@example.com", "+918888888888"]
SEEKER = "rbAXPnMktTFbNpwtJ"


class Operator(http.server.BaseHTTPRequestHandler):
    """The chat server's login, which is asked whose a token is (RFC 7662)."""

    tokens = {}
    client = base64.b64encode(b"acquaint:a-secret-of-the-tests").decode()

    def do_POST(self):
        length = int(self.headers["content-length"])
        form = urllib.parse.parse_qs(self.rfile.read(length).decode())
        user = self.tokens.get(form["token"][0])
        knows = self.headers["authorization"] == f"Basic {self.client}"
        body = {"active": True, "sub": user} if user and knows else {"active": False}
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *_):
        pass


class Server:
    """The built server as a child process, in a folder of its own and on a free port."""

    def __init__(self, binary, **settings):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="acquaint-page-"))
        self.key = f"aqk_{secrets.token_urlsafe(32)}"
        own = {name: text for name, text in os.environ.items() if not name.startswith("ACQUAINT_")}
        run = [binary, "init", self.folder, "--suite", "development"]
        subprocess.run(run, env=own, check=True, capture_output=True)
        digest = hashlib.sha256(self.key.encode()).hexdigest()
        settings = {
            "LISTEN": "127.0.0.1:0",
            "ACCOUNT_FORMAT": "opaque",
            "DIRECTORY__PROVIDER": "contacts.example",
            "SESSIONS__API_KEYS": f"tests:{digest}",
            "VERIFICATION__EMAILS": "true",
            **settings,
        }
        environment = own | {f"ACQUAINT_{name}": text for name, text in settings.items()}
        self.out, self.log = self.folder / "out", self.folder / "log"
        with self.out.open("w") as out, self.log.open("w") as log:
            config = self.folder / "acquaint.toml"
            command = [binary, "serve", "--config", config]
            self.process = subprocess.Popen(command, env=environment, stdout=out, stderr=log)
        self.url = self.listening()

    def listening(self):
        end = time.monotonic() + START_S
        while time.monotonic() < end and self.process.poll() is None:
            found = re.search(r"^listening on (http://\S+)$", self.out.read_text(), re.MULTILINE)
            if found:
                return found[1]
            time.sleep(0.02)
        self.process.kill()
        raise AssertionError(f"the server does not start:\n{self.log.read_text()}")

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(STOP_S)
        finally:
            self.process.kill()
        # The development outbox prints codes on purpose.
        lines = (self.out.read_text() + self.log.read_text()).splitlines()
        told = [line for line in lines if "DEVELOPMENT OUTBOX" not in line]
        shutil.rmtree(self.folder)
        assert status == 0, f"the server's exit status is {status}"
        assert not NAMES_SOMEBODY.search("\n".join(told)), "the log names somebody"

    def as_account(self, account, path, body):
        headers = {
            "authorization": f"Bearer {self.key}",
            "acquaint-account": account,
            "content-type": "application/json",
        }
        request = urllib.request.Request(self.url + path, json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=30) as response:
            return json.load(response)

    def enrol(self, account, username, identifier):
        self.as_account(account, "/v1/directory/verifications", {"identifier": identifier})
        lines = (self.folder / "outbox.txt").read_text().splitlines()
        code = [line.split()[1] for line in lines if line.split()[0] == identifier][-1]
        guess = {"identifier": identifier, "code": code}
        token = self.as_account(account, "/v1/directory/verifications/confirm", guess)["token"]
        self.as_account(account, "/v1/directory/listings", {"token": token, "username": username})


def raw(server, headers, body):
    request = urllib.request.Request(server.url + "/api/v1/query.contacts", body, headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


class Page(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        binary = os.environ.get("ACQUAINT_BIN")
        assert binary, "ACQUAINT_BIN must be the path of the built binary, such as target/debug/acquaint"
        cls.binary = os.path.abspath(binary)
        cls.operator = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Operator)
        threading.Thread(target=cls.operator.serve_forever, daemon=True).start()
        cls.token = secrets.token_urlsafe(32)
        Operator.tokens[cls.token] = SEEKER

    @classmethod
    def tearDownClass(cls):
        cls.operator.shutdown()
        cls.operator.server_close()

    def start(self, **settings):
        sessions = {
            "TOKENS__INTROSPECTION_URL": f"http://127.0.0.1:{self.operator.server_port}/introspect",
            "TOKENS__INTROSPECTION_CLIENT_ID": "acquaint",
            "TOKENS__INTROSPECTION_CLIENT_SECRET": "a-secret-of-the-tests",
        }
        server = Server(self.binary, **sessions, **settings)
        self.addCleanup(server.stop)
        return server

    def headers(self, **other):
        return {"X-Auth-Token": self.token, "X-User-Id": SEEKER, "Content-Type": "application/json"} | other

    def test_johny_is_found_by_his_number(self):
        """With the page's four digits, and with the six of its reckoning."""
        contacts = [contact for of_one in CONTACTS.values() for contact in of_one]
        for digits in (4, 6):
            with self.subTest(digits=digits):
                server = self.start(ROCKETCHAT__ENABLED="true", ROCKETCHAT__DIGITS=str(digits))
                ask = lambda: client.discover(server.url, self.token, SEEKER, contacts, digits)
                self.assertEqual(ask(), {})
                for identifier in JHNS_IDENTIFIERS:
                    server.enrol(JHN[1], JHN[0], identifier)
                self.assertEqual(ask(), {"+918888888888": JHN})
                self.assertIn(f"this service learns {4 * digits} bits of each contact", server.log.read_text())

    def test_as_a_program(self):
        server = self.start(ROCKETCHAT__ENABLED="true", ROCKETCHAT__DIGITS="4")
        server.enrol(JHN[1], JHN[0], "+918888888888")
        program = pathlib.Path(__file__).with_name("client.py")
        command = [sys.executable, program, server.url, self.token, SEEKER, "j@ex.com", "+918888888888", "+919999999999"]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        self.assertEqual(done.stdout, "+918888888888 jhn aobEdbYhXfu5hkeqG\n")

    def test_the_answers_are_the_pages(self):
        server = self.start(ROCKETCHAT__ENABLED="true", ROCKETCHAT__DIGITS="4")
        server.enrol(JHN[1], JHN[0], "+918888888888")
        found = b'{"strongHashes":[{"h":"b612d1ce7aba6afa3c4ad8234a6cb0813c79885a","u":"jhn","_id":"aobEdbYhXfu5hkeqG"}],"success":true}'
        self.assertEqual(raw(server, self.headers(), b'{"weakHashes":["2d1c"]}'), (200, found))
        self.assertEqual(raw(server, self.headers(), b'{"weakHashes":["ac85"]}'), (200, b'{"strongHashes":[],"success":true}'))
        missing = b'{"success":false,"error":"weakHashes param not present."}'
        self.assertEqual(raw(server, self.headers(), b"{}"), (400, missing))
        nobody = b'{"status":"error","message":"You must be logged in to do this."}'
        for wrong in ({"X-Auth-Token": "other"}, {"X-User-Id": JHN[1]}, {"X-Auth-Token": server.key}):
            self.assertEqual(raw(server, self.headers(**wrong), b'{"weakHashes":["2d1c"]}'), (401, nobody))

    def test_the_whole_directory_cannot_be_had_at_once(self):
        server = self.start(ROCKETCHAT__ENABLED="true", ROCKETCHAT__DIGITS="4")
        server.enrol(JHN[1], JHN[0], "+918888888888")
        everything = json.dumps({"weakHashes": [f"{prefix:04x}" for prefix in range(0x10000)]}).encode()
        status, body = raw(server, self.headers(), everything)
        self.assertEqual((status, json.loads(body)["error"]), (400, "weakHashes must have 1 to 1000 entries"))
        # A thousand at a time, until the account's quota is spent.
        had = 0
        for first in range(0, 0x10000, 1000):
            prefixes = [f"{prefix:04x}" for prefix in range(first, min(first + 1000, 0x10000))]
            status, body = raw(server, self.headers(), json.dumps({"weakHashes": prefixes}).encode())
            if status == 429:
                self.assertIs(json.loads(body)["success"], False)
                break
            self.assertEqual(status, 200)
            had += len(prefixes)
        self.assertEqual(had, 2000)

    def test_it_is_off_and_says_nothing_until_it_is_switched_on(self):
        server = self.start()
        server.enrol(JHN[1], JHN[0], "+918888888888")
        status, body = raw(server, self.headers(), b'{"weakHashes":["2d1ce7"]}')
        self.assertEqual((status, json.loads(body)["success"]), (404, False))
        self.assertNotIn("rocketchat.enabled", server.log.read_text())


if __name__ == "__main__":
    unittest.main()
