"""A link works for its recording, until it expires, and no other does."""

from __future__ import annotations

import string
import subprocess
import sys
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from pydantic import SecretStr

from callengine.config.settings import Settings
from callengine.errors import ConfigurationError, LinkExpired, LinkInvalid
from callengine.recordings.signing import Signer, kept_keys, signer_of

ID = "0191d5a4-0000-7000-8000-0123456789ab"
KEY, OLD = "k" * 32, "o" * 32
NOW = 1_795_343_615.9


def parts(url: str) -> tuple[str, str, str]:
    """Id, expiry and signature of a URL."""
    split = urlsplit(url)
    query = parse_qs(split.query, strict_parsing=True)
    assert set(query) == {"expires", "signature"}
    return split.path.rpartition("/")[2], query["expires"][0], query["signature"][0]


def signer(*keys: str, ttl_s: int = 60) -> Signer:
    return Signer(keys or (KEY,), "https://calls.example.com/pbx", ttl_s)


def test_a_url_is_absolute_and_works_until_it_expires() -> None:
    url = signer().url(ID, NOW)
    assert url.startswith(f"https://calls.example.com/pbx/v1/recordings/{ID}?expires=1795343675&signature=")
    given = parts(url)
    for now_s in (NOW, NOW + 59, 1_795_343_674.999):
        signer().verify(*given, now_s)
    for now_s in (1_795_343_675, NOW + 61, NOW + 1e9):
        with pytest.raises(LinkExpired):
            signer().verify(*given, now_s)


def test_each_changed_character_is_noticed() -> None:
    given = parts(signer().url(ID, NOW))
    alphabet = string.ascii_letters + string.digits + "-_=.%+ \0é٣"
    for which, text in enumerate(given):
        for at in range(len(text)):
            for other in alphabet:
                changed = text[:at] + other + text[at + 1 :]
                if changed == text:
                    continue
                tried = [*given[:which], changed, *given[which + 1 :]]
                with pytest.raises(LinkInvalid):
                    signer().verify(*tried, NOW)


@pytest.mark.parametrize(
    "expires", ["", "0", "-1", "01795343675", "+1795343675", "1795343675 ", "1.8e9", "١٧٩٥٣٤٣٦٧٥", "9" * 5000]
)
def test_an_expiry_that_is_none(expires: str) -> None:
    own = signer()
    signature = own._signer.get_signature(f"{expires}.{ID}").decode()
    with pytest.raises(LinkInvalid):
        own.verify(ID, expires, signature, NOW)


def test_id_and_expiry_do_not_run_into_each_other() -> None:
    _, expires, signature = parts(signer().url("7.abc", NOW))
    with pytest.raises(LinkInvalid):
        signer().verify("abc", f"{expires}7", signature, NOW)


@pytest.mark.parametrize("signature", ["", "x", "A" * 42, "A" * 44, "A" * 42 + "=", "A" * 100_000, "\N{SNOWMAN}" * 43])
def test_a_signature_that_is_none(signature: str) -> None:
    with pytest.raises(LinkInvalid):
        signer().verify(ID, "1795343675", signature, NOW)


def test_the_first_key_signs_and_all_are_accepted() -> None:
    of_old, of_new = parts(signer(OLD).url(ID, NOW)), parts(signer(KEY, OLD).url(ID, NOW))
    assert of_new == parts(signer(KEY).url(ID, NOW))
    signer(KEY, OLD).verify(*of_old, NOW)
    for wrong in (signer(KEY), signer("x" * 32)):
        with pytest.raises(LinkInvalid):
            wrong.verify(*of_old, NOW)


def test_what_another_use_of_the_key_signs_is_no_link() -> None:
    import itsdangerous

    other = itsdangerous.Signer(KEY, salt=b"another use", key_derivation="hmac")
    with pytest.raises(LinkInvalid):
        signer().verify(ID, "1795343675", other.get_signature(f"1795343675.{ID}").decode(), NOW)


def test_no_key_no_signer() -> None:
    for keys in ([], [""], [KEY, ""]):
        with pytest.raises(ValueError, match="a key"):
            Signer(keys, "https://x", 1)


def test_an_odd_id_stays_one_segment() -> None:
    assert "/v1/recordings/a%2F..%3Fb?expires=" in signer().url("a/..?b", NOW)


# -- the keys ------------------------------------------------------------------------------------------------------


def settings(tmp_path: Path, **http: object) -> Settings:
    return Settings.model_validate({"state": {"directory": tmp_path / "state"}, "http": http})


def test_the_configured_keys(tmp_path: Path) -> None:
    chosen = settings(tmp_path, signing_key=SecretStr(KEY), old_signing_keys=SecretStr(f" {OLD}\n{'p' * 32}\n"))
    own = signer_of(chosen)
    own.verify(*parts(signer(OLD).url(ID, NOW)), NOW)
    own.verify(*parts(signer("p" * 32).url(ID, NOW)), NOW)
    assert own.url(ID, NOW).endswith(signer(KEY, ttl_s=3600).url(ID, NOW).rpartition("/v1/")[2])
    assert not (tmp_path / "state").exists()


def test_a_key_is_made_once_and_kept(tmp_path: Path) -> None:
    first = signer_of(settings(tmp_path, old_signing_keys=SecretStr(OLD)))
    file = tmp_path / "state/signing.key"
    assert file.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in file.parent.iterdir()] == ["signing.key"]
    again = signer_of(settings(tmp_path))
    again.verify(*parts(first.url(ID, NOW)), NOW)
    first.verify(*parts(signer(OLD).url(ID, NOW)), NOW)
    file.write_text(f"{KEY}\n\n{file.read_text()}")
    rotated = signer_of(settings(tmp_path))
    rotated.verify(*parts(first.url(ID, NOW)), NOW)
    with pytest.raises(LinkInvalid):
        first.verify(*parts(rotated.url(ID, NOW)), NOW)


def test_processes_that_start_at_once_agree(tmp_path: Path) -> None:
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom callengine.recordings.signing import kept_keys\n"
        "sys.stdin.readline()\nprint(kept_keys(Path(sys.argv[1]))[0])\n"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / "new/signing.key")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for process in started:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    said = {process.communicate(timeout=30)[0].strip() for process in started}
    assert len(said) == 1
    assert [entry.name for entry in (tmp_path / "new").iterdir()] == ["signing.key"]


@pytest.mark.parametrize("content", ["", "\n \n", "short\n", f"{KEY}\nshort\n", "\xff" * 10])
def test_a_key_file_without_keys(tmp_path: Path, content: str) -> None:
    file = tmp_path / "signing.key"
    file.write_text(content, encoding="latin-1")
    file.chmod(0o600)
    with pytest.raises(ConfigurationError, match="at least 32 characters") as caught:
        kept_keys(file)
    assert KEY not in str(caught.value)


def test_a_key_file_that_others_can_read_or_that_cannot_be_made(tmp_path: Path) -> None:
    file = tmp_path / "signing.key"
    file.write_text(KEY)
    file.chmod(0o640)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        kept_keys(file)
    file.unlink()
    file.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigurationError, match="cannot be kept there"):
        kept_keys(file)
    with pytest.raises(ConfigurationError, match="cannot be kept there"):
        kept_keys(Path("/proc/none/signing.key"))
