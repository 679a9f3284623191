"""Verifies the output of the example `sign` of the crate `webhooks` with the reference library `standardwebhooks`. Each
signature must be valid for each secret, and for no other body, id or time. Fails otherwise."""

import json
import sys

from standardwebhooks.webhooks import Webhook, WebhookVerificationError


def is_valid(secret, identifier, timestamp, body, signatures):
    headers = {"webhook-id": identifier, "webhook-timestamp": timestamp, "webhook-signature": signatures}
    try:
        Webhook(secret).verify(body, headers)
    except WebhookVerificationError:
        return False
    except json.JSONDecodeError:
        # The library parses the body only after the signature was valid.
        return True
    return True


def main():
    rotated = 0
    lines = sys.stdin.read().splitlines()
    for line in lines:
        secrets, identifier, timestamp, body, signatures = line.split("\t")
        rotated += " " in secrets
        for secret in secrets.split(" "):
            assert is_valid(secret, identifier, timestamp, body, signatures), line
            assert not is_valid(secret, identifier, timestamp, body + " ", signatures), line
            assert not is_valid(secret, identifier + "x", timestamp, body, signatures), line
            assert not is_valid(secret, identifier, str(int(timestamp) - 1), body, signatures), line
    assert len(lines) == 9 and rotated == 3, f"{len(lines)} lines, {rotated} with two secrets"


main()
