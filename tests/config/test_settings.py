"""Where settings come from, which source wins, and what they refuse."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from callengine.config import settings as settings_module
from callengine.config.settings import Settings, as_shown, find_file, load
from callengine.errors import ConfigurationError

ROOT = Path(__file__).parents[2]


def written(folder: Path, text: str) -> Path:
    file = folder / "callengine.toml"
    file.write_text(text, encoding="utf-8")
    return file


def problems(path: Path | None, environ: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load(path, environ or {})
    return list(caught.value.problems)


def test_defaults_suffice(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(settings_module, "DEFAULT_PATH", tmp_path / "none.toml")
    monkeypatch.chdir(tmp_path)
    loaded = load(None, {})
    assert (loaded.esl.address, loaded.esl.password.get_secret_value()) == ("127.0.0.1:8021", "ClueCon")
    assert loaded.database.url.get_secret_value() == f"sqlite:///{tmp_path}/var/callengine.db"
    assert loaded.http.public_url == "http://127.0.0.1:8088"
    assert loaded.originate.gateways == {}


def test_the_example_loads_as_it_is() -> None:
    assert load(ROOT / "config" / "callengine.toml", {}) == Settings()


def test_the_example_loads_with_its_comments_taken_away(tmp_path: Path) -> None:
    lines = (ROOT / "config" / "callengine.toml").read_text(encoding="utf-8").splitlines()
    live = [line.removeprefix("# ") if _is_setting(line) else line for line in lines]
    loaded = load(written(tmp_path, "\n".join(live)), {})
    assert set(loaded.originate.gateways) == {"carrier"}
    assert loaded.originate.gateways["carrier"].caller_id_pattern.fullmatch("+3725550142")
    assert loaded.recordings.path_map == {"/var/lib/freeswitch/recordings": Path("/mnt/recordings")}
    assert loaded.tracking.own_only


def _is_setting(line: str) -> bool:
    word = line.removeprefix("# ").partition(" = ")[0]
    return line.startswith(("# [originate", '# "/')) or (line.startswith("# ") and " = " in line and " " not in word)


def test_environment_wins_over_file_and_credential_over_both(tmp_path: Path) -> None:
    file = written(tmp_path, '[esl]\nhost = "a"\nport = 1\npassword = "from file"\n')
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "esl.password").write_text("from credential\n")
    (credentials / "somebody-elses").write_text("ignored")
    environ = {"CALLENGINE_ESL__PORT": "2", "CALLENGINE_ESL__PASSWORD": "from environment"}
    loaded = load(file, environ)
    assert (loaded.esl.host, loaded.esl.port) == ("a", 2)
    assert loaded.esl.password.get_secret_value() == "from environment"
    loaded = load(file, environ | {"CREDENTIALS_DIRECTORY": str(credentials)})
    assert loaded.esl.password.get_secret_value() == "from credential"


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("RECORDINGS__DIRECTORIES", "/a, /b", {"recordings": {"directories": ["/a", "/b"]}}),
        ("RECORDINGS__DIRECTORIES", '["/a,b"]', {"recordings": {"directories": ["/a,b"]}}),
        ("RECORDINGS__DIRECTORIES", "", {"recordings": {"directories": []}}),
        ("RECORDINGS__PATH_MAP", '{"/x": "/y"}', {"recordings": {"path_map": {"/x": "/y"}}}),
        ("RECORDINGS__STEREO", "false", {"recordings": {"stereo": False}}),
        ("TRACKING__TENANT_HOLD_S", "0.5", {"tracking": {"tenant_hold_s": 0.5}}),
        ("ORIGINATE__MAX_CONCURRENT", "7", {"originate": {"max_concurrent": 7}}),
        ("SWITCH__NAME", "12", {"switch": {"name": "12"}}),
    ],
)
def test_environment_values(tmp_path: Path, name: str, text: str, expected: dict[str, dict[str, Any]]) -> None:
    shown = as_shown(load(written(tmp_path, ""), {f"CALLENGINE_{name}": text}))
    for section, values in expected.items():
        assert {key: shown[section][key] for key in values} == values


def test_state_directory_of_systemd(tmp_path: Path) -> None:
    file = written(tmp_path, "")
    assert load(file, {"STATE_DIRECTORY": "/s/one:/s/two"}).state.directory == Path("/s/one")
    file = written(tmp_path, '[state]\ndirectory = "/mine"\n')
    loaded = load(file, {"STATE_DIRECTORY": "/s/one"})
    assert loaded.database.url.get_secret_value() == "sqlite:////mine/callengine.db"


def test_which_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    default = written(tmp_path, "")
    monkeypatch.setattr(settings_module, "DEFAULT_PATH", default)
    assert find_file(Path("/given"), {"CALLENGINE_CONFIG": "/named"}) == Path("/given")
    assert find_file(None, {"CALLENGINE_CONFIG": "/named"}) == Path("/named")
    assert find_file(None, {}) == default
    default.unlink()
    assert find_file(None, {}) is None


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().esl.port = 1  # type: ignore[misc]


SECRET = "hunter2-\N{SNOWMAN}"


def test_secrets_are_never_shown(tmp_path: Path) -> None:
    environ = {f"CALLENGINE_{name}": SECRET for name in ("ESL__PASSWORD", "HTTP__SIGNING_KEY", "METRICS__TOKEN")}
    environ |= {"CALLENGINE_HTTP__OLD_SIGNING_KEYS": SECRET, "CALLENGINE_S3__SECRET_ACCESS_KEY": SECRET}
    environ["CALLENGINE_AI__API_KEY"] = SECRET
    environ["CALLENGINE_DATABASE__URL"] = (
        f"postgresql://callengine:{SECRET}@db.example.com:5432/calls?password={SECRET}"
    )
    loaded = load(written(tmp_path, ""), environ)
    assert loaded.esl.password.get_secret_value() == SECRET
    for shown in (repr(loaded), str(loaded), str(as_shown(loaded)), loaded.model_dump_json()):
        assert SECRET not in shown
    assert as_shown(loaded)["database"]["url"] == "postgresql://callengine@db.example.com:5432/calls"


@pytest.mark.parametrize(
    "text",
    [
        f'[esl]\npassword = ["{SECRET}"]',
        f'[database]\nurl = "mysql://u:{SECRET}@h/d"',
        f'[database]\nurl = "postgresql://u:{SECRET}@h:port/d"',
        f'[http]\npublic_url = "https://u:{SECRET}@h"',
        f'[esl]\npassword = "{SECRET}',
        f'[esl]\npasword = "{SECRET}"',
        f'[ai]\nenabled = "{SECRET}"',
    ],
)
def test_secrets_are_in_no_error(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(written(tmp_path, text), {})
    # As it is logged: with the traceback of whatever was raised before it.
    assert SECRET not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("[esl]\nport = 0", "esl.port: must be greater than or equal to 1"),
        ("[esl]\nport = 65536", "esl.port: must be less than or equal to 65535"),
        ("[esl]\nport = true", "esl.port: must be a number, not true or false"),
        ("[esl]\nhost = ''", "esl.host: "),
        ("[esl]\nhost = 'a\\u0000b'".replace("'", '"'), "esl.host: must not contain control characters"),
        ("[esl]\ncommand_timeout_s = 0", "esl.command_timeout_s: must be greater than 0"),
        ("[esl]\ncommand_timeout_s = inf", "esl.command_timeout_s: must be"),
        ("[esl]\ncommand_timeout_s = nan", "esl.command_timeout_s: must be"),
        ("[esl]\nbackoff_min_s = 60", "esl: backoff_min_s must not be greater than backoff_max_s"),
        ("[ai]\nbackoff_min_s = 22000", "ai: backoff_min_s must not be greater than backoff_max_s"),
        ("[originate]\ndestination_pattern = '('", "originate.destination_pattern: is no regular expression"),
        ("[originate.gateways.'a b']", "originate.gateways.a b: must be a name of 1 to 64"),
        ("[originate.gateways.a]\ndial_string = 'sofia/gateway/a/'", "must contain {destination}"),
        ("[originate.gateways.a]\ndial_string = 'x/{destination}/{host}'", "must contain {destination}"),
        ("[originate.gateways.a]\ndial_string = 'x/{destination.x}'", "is no template"),
        ("[originate.gateways.a]\ndial_string = 'x/{destination'", "is no template"),
        ("[originate.gateways.a]\ncaller_id_number = 'x'", "caller_id_number must match caller_id_pattern"),
        ("[originate.agents.a]", "originate.agents.a.dial_string: has to be set"),
        ("[originate.agents.a]\ndial_string = 'user/1001'", "must contain {agent}"),
        ("[originate.applications.a]\napplication = 'system rm'", "originate.applications.a.application: must match"),
        ("[database]\nurl = 'mysql://h/d'", "database.url: must begin with sqlite:/// or postgresql://"),
        ("[database]\nurl = 'sqlite:///:memory:'", "must name a file"),
        ("[database]\nurl = 'sqlite://relative.db'", "a SQLite URL is"),
        ("[database]\nurl = 'postgresql://h'", "names a database"),
        ("[http]\npublic_url = 'ftp://h'", "must begin with http:// or https://"),
        ("[http]\npublic_url = 'https://h/?q'", "no user, query or fragment"),
        ("[recordings]\ndirectories = ['recordings']", "recordings.directories.0: must be an absolute path"),
        ("[recordings]\ndirectories = '/one'", "recordings.directories: must be a list"),
        ("[ai]\nenabled = true", "ai: ai.enabled needs ai.api_key"),
        ("[http]\nsigning_key = 'a b'", "http: signing_key must have no white space in it"),
        ("[recordings]\nstorage = 's3'", "recordings.storage s3 needs s3.bucket, s3.access_key_id, s3.secret"),
        ("[recordings]\nstorage = 's3'\n[s3]\nbucket = 'b-1'", "storage s3 needs s3.access_key_id, s3.secret_acc"),
        ("[s3]\nbucket = 'A_b'", "s3.bucket: must be a bucket's name"),
        ("[s3]\nprefix = 'a/../b'", "s3.prefix: must be names of letters"),
        ("[s3]\nprefix = '/a'", "s3.prefix: must be names of letters"),
        ("[tracking]\ntenant_variable = 'sip_h_X-Tenant'", "must not be a SIP header"),
        ("[tracking]\nagent_variables = ['cc_agent', 'record_ms']", "must not be record_ms"),
        ("[tracking]\nlead_variable = 'a b'", "must be the name of a channel variable"),
        ("[log]\nlevel = 'loud'", "log.level: must be 'debug'"),
        ("esl = 3", "esl: must be a table"),
    ],
)
def test_refused(tmp_path: Path, text: str, fact: str) -> None:
    found = problems(written(tmp_path, text))
    assert len(found) == 1
    assert fact in found[0]


@pytest.mark.parametrize(
    "name",
    [
        "execute_on_answer", "EXECUTE_ON_ANSWER", "api_*", "exec_after_bridge_app", "transfer_hook", "x_Hook*",
        "record_post_process_exec_app", "callengine_tenant_id", "callengine_*", "e*", "*", "ex*", "API*", "record_*",
        "sip_h_X-${x}", "a b", "a=b", "a*b", "",
    ],
)  # fmt: skip
def test_variables_that_no_configuration_opens(tmp_path: Path, name: str) -> None:
    found = problems(written(tmp_path, f"[originate]\nvariables = ['{name}']"))
    assert len(found) == 1
    assert "originate.variables.0: " in found[0]


def test_variables_that_are_open(tmp_path: Path) -> None:
    originate = load(written(tmp_path, "[originate]\nvariables = ['sip_h_X-*', 'hold_music']"), {}).originate
    assert all(map(originate.allows_variable, ["sip_h_X-a", "sip_h_X-", "hold_music"]))
    refused = ["sip_h_x", "hold_music2", "sip_h_X-a_hook", "sip_h_X-a b", "sip_h_X-${a}", "api_x", "sip_h_X-\n"]
    assert not any(map(originate.allows_variable, refused))


@pytest.mark.parametrize("headers", ["authorization", "a b=c", "x=\x1b[2J", "ok=1,nonsense"])
def test_headers_of_traces_are_names_and_values(headers: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Settings.model_validate({"tracing": {"headers": headers}})
    assert "name=value" in str(refused.value)
    assert "nonsense" not in refused.value.errors(include_input=False)[0]["msg"]


def test_traces_need_somewhere_to_go() -> None:
    with pytest.raises(ValidationError, match=r"tracing\.enabled needs tracing\.endpoint"):
        Settings.model_validate({"tracing": {"enabled": True, "endpoint": ""}})
    assert not Settings().tracing.enabled
