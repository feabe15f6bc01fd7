"""A client of Rocket.Chat's contact discovery, written from the wiki page "Optimized Contact Discovery" alone.

    python3 client.py URL TOKEN USER_ID CONTACT…
"""

import hashlib
import json
import sys
import urllib.request

# "substring of SHA1 of length 4 starting at position 3"
POSITION = 3
LENGTH = 4


def strong_hash(contact):
    return hashlib.sha1(contact.encode()).hexdigest()


def weak_hash(contact, length=LENGTH):
    return strong_hash(contact)[POSITION : POSITION + length]


def query(url, token, user_id, weak_hashes):
    """What the server has under these weak hashes: objects with `h`, `u` and `_id`."""
    request = urllib.request.Request(
        url + "/api/v1/query.contacts",
        data=json.dumps({"weakHashes": weak_hashes}).encode(),
        headers={"X-Auth-Token": token, "X-User-Id": user_id, "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        answer = json.load(response)
    assert answer["success"] is True, answer
    return answer["strongHashes"]


def discover(url, token, user_id, contacts, length=LENGTH):
    """Which of the contacts have an account: contact -> (username, id)."""
    weak_hashes = [weak_hash(contact, length) for contact in contacts]
    by_strong_hash = {}
    for candidate in query(url, token, user_id, weak_hashes):
        by_strong_hash[candidate["h"]] = (candidate["u"], candidate["_id"])
    found = {contact: by_strong_hash.get(strong_hash(contact)) for contact in contacts}
    return {contact: account for contact, account in found.items() if account}


if __name__ == "__main__":
    if len(sys.argv) < 5:
        sys.exit(__doc__)
    for contact, (username, user_id) in discover(*sys.argv[1:4], sys.argv[4:]).items():
        print(contact, username, user_id)
