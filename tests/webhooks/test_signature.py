"""Standard Webhooks' own library verifies what we sign, and nothing that was changed."""

from __future__ import annotations

import time
from base64 import b64encode

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from callengine.webhooks import signature

ID = "0191f0a6-7c7a-7d31-a4f3-3a5e5f3f2b10"
BODY = '{"type":"call.ended","data":{"call":{"caller_name":"Жанна ☎"}}}'.encode()


def signed(*secrets: str, at_s: int | None = None) -> dict[str, str]:
    keys = [signature.key_of(secret) for secret in secrets]
    return signature.headers(keys, ID, int(time.time()) if at_s is None else at_s, BODY)


def test_their_library_verifies_ours() -> None:
    secret = signature.new_secret()
    assert Webhook(secret).verify(BODY, signed(secret))["type"] == "call.ended"
    assert signed(secret)["webhook-id"] == ID


@pytest.mark.parametrize("at", range(0, len(BODY), 7))
def test_a_changed_byte_does_not_verify(at: int) -> None:
    secret = signature.new_secret()
    changed = bytes([*BODY[:at], BODY[at] ^ 1, *BODY[at + 1 :]])
    with pytest.raises((WebhookVerificationError, UnicodeDecodeError)):
        Webhook(secret).verify(changed, signed(secret))


def test_another_secret_id_or_time_does_not_verify() -> None:
    secret = signature.new_secret()
    now_s = int(time.time())
    with pytest.raises(WebhookVerificationError, match="No matching signature"):
        Webhook(signature.new_secret()).verify(BODY, signed(secret))
    with pytest.raises(WebhookVerificationError, match="No matching signature"):
        Webhook(secret).verify(BODY, signed(secret) | {"webhook-id": ID.replace("0", "1")})
    with pytest.raises(WebhookVerificationError, match="No matching signature"):
        Webhook(secret).verify(BODY, signed(secret) | {"webhook-timestamp": str(now_s - 60)})
    for at_s, word in ((now_s - 600, "too old"), (now_s + 600, "too new")):
        with pytest.raises(WebhookVerificationError, match=word):
            Webhook(secret).verify(BODY, signed(secret, at_s=at_s))


def test_while_secrets_overlap_both_verify() -> None:
    new, old = signature.new_secret(), signature.new_secret()
    headers = signed(new, old)
    assert len(headers["webhook-signature"].split(" ")) == 2
    for secret in (new, old):
        assert Webhook(secret).verify(BODY, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(old).verify(BODY, signed(new))


def test_secrets_are_random_and_long_enough() -> None:
    made = {signature.new_secret() for _ in range(100)}
    assert len(made) == 100
    assert all(len(signature.key_of(secret)) == 32 for secret in made)


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_ä", "whsec_" + b64encode(bytes(23)).decode(), "A" * 44])
def test_what_is_no_secret_is_refused_unrepeated(secret: str) -> None:
    with pytest.raises(ValueError, match="has to be whsec_") as caught:
        signature.key_of(secret)
    assert len(secret) < 8 or secret not in str(caught.value)
