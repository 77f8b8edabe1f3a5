"""The stand-in for Gemini, asked over HTTP by hand, as its REST reference has it."""

from __future__ import annotations

import base64
import http.client
import io
import json
import socket
import wave
from array import array
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from callengine.standin.gemini import GeminiNotStarted, launch

KEY = "standin-key"
CHUNK = 8 * 1024 * 1024
SCHEMA = {
    "type": "OBJECT",
    "properties": {"sentiment": {"type": "STRING", "enum": ["positive", "neutral", "negative"]}},
    "required": ["sentiment"],
}


@pytest.fixture(scope="module")
def log_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gemini") / "log"


@pytest.fixture(scope="module")
def base_url(log_file: Path) -> Iterator[str]:
    with launch(["--key", KEY, "--processing-ms", "0", "--log", str(log_file)]) as process:
        yield process.base_url


class Client:
    """Requests with the key, each on a connection of its own."""

    def __init__(self, base_url: str) -> None:
        self._address = urlsplit(base_url).netloc

    def ask(
        self, method: str, path: str, body: Any = None, *, key: str | None = KEY, **headers: str
    ) -> tuple[int, Any, dict[str, str]]:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if key is not None:
            sent["x-goog-api-key"] = key
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        with closing(http.client.HTTPConnection(self._address, timeout=20)) as connection:
            connection.request(method, path, data, sent)
            with connection.getresponse() as answer:
                raw = answer.read()
        return answer.status, json.loads(raw), {name.lower(): value for name, value in answer.getheaders()}

    def start(self, file: dict[str, Any], size: int, mime_type: str = "audio/wav") -> tuple[int, Any, dict[str, str]]:
        return self.ask(
            "POST",
            "/upload/v1beta/files",
            {"file": file},
            X_Goog_Upload_Protocol="resumable",
            X_Goog_Upload_Command="start",
            X_Goog_Upload_Header_Content_Length=str(size),
            X_Goog_Upload_Header_Content_Type=mime_type,
        )

    def part(self, url: str, data: bytes, offset: int, command: str) -> tuple[int, Any, dict[str, str]]:
        parts = urlsplit(url)
        return self.ask(
            "POST",
            f"{parts.path}?{parts.query}",
            data,
            key=None,
            X_Goog_Upload_Command=command,
            X_Goog_Upload_Offset=str(offset),
        )

    def upload(self, data: bytes, **file: str) -> dict[str, Any]:
        _, _, headers = self.start(file, len(data))
        status, body, _ = self.part(headers["x-goog-upload-url"], data, 0, "upload, finalize")
        assert status == 200
        stored: dict[str, Any] = body["file"]
        return stored

    def generate(self, *parts: Any, model: str = "gemini-test", version: str = "v1beta", **more: Any) -> Any:
        config = {"responseMimeType": "application/json", "responseSchema": SCHEMA, **more}
        body = {"contents": [{"role": "user", "parts": list(parts)}], "generationConfig": config}
        return self.ask("POST", f"/{version}/models/{model}:generateContent", body)


@pytest.fixture
def client(base_url: str) -> Client:
    return Client(base_url)


def wav(*levels: int, channels: int = 1) -> bytes:
    """A second for each level."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(8000)
        for level in levels:
            file.writeframes(array("h", [level, -level] * 4000 * channels).tobytes())
    return out.getvalue()


def inline(data: bytes) -> dict[str, Any]:
    return {"inlineData": {"mimeType": "audio/wav", "data": base64.b64encode(data).decode()}}


def said(answer: Any) -> Any:
    status, body, _ = answer
    assert status == 200, body
    return json.loads("".join(part["text"] for part in body["candidates"][0]["content"]["parts"]))


@pytest.mark.parametrize("version", ["v1", "v1beta"])
def test_it_answers_and_says_what_it_is(client: Client, version: str) -> None:
    status, body, headers = client.generate({"text": "?"}, inline(wav(9000)), version=version)
    assert status == 200
    assert body["modelVersion"] == "simulated-gemini"
    assert "standin" in headers["server"]
    assert "not Google's" in headers["server"]
    assert body["usageMetadata"]["promptTokenCount"] == 32


@pytest.mark.parametrize(
    ("levels", "sentiment"), [((500, 0, 9000), "negative"), ((9000, 0, 500), "positive"), ((900, 0, 900), "neutral")]
)
def test_what_it_answers_comes_from_the_audio(client: Client, levels: tuple[int, ...], sentiment: str) -> None:
    assert said(client.generate({"text": "?"}, inline(wav(*levels))))["sentiment"] == sentiment


def test_a_transcript_within_the_recording_and_quotes_from_it(client: Client) -> None:
    line = {"speaker": {"type": "STRING", "enum": ["caller", "callee"]}, "offset_ms": {"type": "INTEGER"}}
    schema = {
        "type": "OBJECT",
        "properties": {
            "statements": {
                "type": "ARRAY",
                "items": {"type": "OBJECT", "properties": {"text": {"type": "STRING"}, "quote": {"type": "STRING"}}},
            },
            "transcript": {
                "type": "ARRAY",
                "items": {"type": "OBJECT", "properties": {**line, "text": {"type": "STRING"}}},
            },
            "disposition": {"type": "STRING", "enum": ["sold", "lost"]},
        },
    }
    told = said(client.generate({"text": "?"}, inline(wav(0, 9000, 0, 9000, 0)), responseSchema=schema))
    assert [part["offset_ms"] for part in told["transcript"]] == [1000, 3000]
    texts = [part["text"] for part in told["transcript"]]
    assert told["statements"]
    assert all(part["quote"] in texts for part in told["statements"])
    assert told["statements"][0]["text"].startswith("Simulated analysis")
    assert told["disposition"] in {"sold", "lost"}
    del schema["properties"]["transcript"]
    del schema["properties"]["statements"]["items"]["properties"]["quote"]  # type: ignore[index]
    told = said(client.generate({"text": "?"}, inline(wav(9000)), responseSchema=schema))
    assert "transcript" not in told
    assert all(set(part) == {"text"} for part in told["statements"])


def test_silence_is_not_put_into_words(client: Client) -> None:
    schema = {"type": "OBJECT", "properties": {"statements": {"type": "ARRAY", "items": {"type": "OBJECT"}}}}
    assert said(client.generate({"text": "?"}, inline(wav(0, 0)), responseSchema=schema)) == {"statements": []}


def test_either_base64(client: Client) -> None:
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        data = encode(wav(9000)).decode().rstrip("=")
        assert said(client.generate({"inlineData": {"mimeType": "audio/wav", "data": data}}))


def test_numbers_for_enums_where_they_are_asked_for(client: Client) -> None:
    body = {"contents": [{"parts": [{"text": "?"}]}]}
    path = "/v1beta/models/x:generateContent?%24alt=json;enum-encoding=int"
    assert client.ask("POST", path, body)[1]["candidates"][0]["finishReason"] == 1


@pytest.mark.parametrize(
    ("parts", "more", "status"),
    [
        ([], {}, 400),
        ([{"text": "?", "sound": 1}], {}, 400),
        ([{"inlineData": {"data": "AAAA"}}], {}, 400),
        ([{"inlineData": {"mimeType": "audio/wav", "data": "?"}}], {}, 400),
        ([{"fileData": {"mimeType": "audio/wav", "fileUri": "https://x/v1beta/files/nope"}}], {}, 403),
        ([{"text": "?"}], {"temprature": 1}, 400),
        ([{"text": "?"}], {"maxOutputTokens": 0}, 400),
        ([{"text": "?"}], {"responseMimeType": "text/plain"}, 400),
        ([{"text": "?"}], {"responseSchema": {"type": "OBJECT", "additionalProperties": False}}, 400),
        ([{"text": "?"}], {"responseSchema": {"type": ["STRING", "NULL"]}}, 400),
        ([{"text": "?"}], {"responseSchema": {"type": "ARRAY"}}, 400),
        ([{"text": "?"}], {"responseSchema": {"type": "OBJECT", "properties": {}, "required": ["a"]}}, 400),
        ([{"text": "?"}], {"responseJsonSchema": {"type": "object"}}, 400),
    ],
)
def test_what_google_refuses(client: Client, parts: list[Any], more: dict[str, Any], status: int) -> None:
    answered, body, _ = client.generate(*parts, **more)
    assert answered == status
    assert body["error"]["code"] == status
    assert body["error"]["status"] in {"INVALID_ARGUMENT", "PERMISSION_DENIED"}


def test_a_deadline_that_is_too_near(client: Client) -> None:
    assert client.ask("GET", "/v1beta/files", X_Server_Timeout="9")[0] == 400
    assert client.ask("GET", "/v1beta/files", X_Server_Timeout="10")[0] == 200


def test_both_spellings_of_the_key(client: Client, base_url: str) -> None:
    assert client.ask("GET", f"/v1beta/files?key={KEY}", key=None)[0] == 200
    assert client.ask("GET", "/v1beta/files", key=None)[0] == 403
    status, body, _ = client.ask("GET", "/v1beta/files", key="wrong")
    assert status == 400
    assert body["error"]["details"][0]["reason"] == "API_KEY_INVALID"


def test_the_log_counts_and_holds_no_key(client: Client, log_file: Path) -> None:
    client.ask("GET", f"/v1beta/files?key={KEY}", key=None)
    client.ask("GET", "/v1beta/files", key="wrong-key")
    entries = client.ask("GET", "/_log", key=None)[1]
    assert [entry["status"] for entry in entries[-2:]] == [200, 400]
    for text in (json.dumps(entries), log_file.read_text()):
        assert KEY not in text
        assert "wrong-key" not in text


# -- files ------------------------------------------------------------------------------------------------------------


def test_an_upload_in_parts(client: Client) -> None:
    data = wav(9000) * 600
    _, _, headers = client.start({"name": "files/in-parts", "displayName": "a call"}, len(data))
    url = headers["x-goog-upload-url"]
    assert headers["x-goog-upload-chunk-granularity"] == str(CHUNK)
    status, _, headers = client.part(url, data[:CHUNK], 0, "upload")
    assert (status, headers["x-goog-upload-status"]) == (200, "active")
    status, body, headers = client.part(url, data[CHUNK:], CHUNK, "upload, finalize")
    assert (status, headers["x-goog-upload-status"]) == (200, "final")
    assert body["file"]["name"] == "files/in-parts"
    assert body["file"]["sizeBytes"] == str(len(data))
    assert client.ask("GET", "/v1/files/in-parts")[1]["state"] == "ACTIVE"
    assert said(client.generate({"fileData": {"mimeType": "audio/wav", "fileUri": body["file"]["uri"]}}))
    assert client.ask("DELETE", "/v1beta/files/in-parts")[:2] == (200, {})
    assert client.ask("GET", "/v1beta/files/in-parts")[0] == 403
    assert client.ask("GET", "/_files", key=None)[1] == []


@pytest.mark.parametrize(
    ("name", "size", "mime_type"),
    [
        ("files/UPPER", 5, "audio/wav"),
        ("files/-dash", 5, "audio/wav"),
        ("files/" + "a" * 41, 5, "audio/wav"),
        ("other/a", 5, "audio/wav"),
        ("files/a", 0, "audio/wav"),
        ("files/a", 5, ""),
    ],
)
def test_what_cannot_be_uploaded(client: Client, name: str, size: int, mime_type: str) -> None:
    assert client.start({"name": name}, size, mime_type)[0] == 400


def test_parts_that_do_not_fit(client: Client) -> None:
    url = client.start({}, 10)[2]["x-goog-upload-url"]
    assert client.part(url, b"12345", 0, "upload")[0] == 400, "no multiple of the granularity"
    assert client.part(url, b"12345", 5, "upload, finalize")[0] == 400, "not where the upload stands"
    assert client.part(url, b"12345", 0, "upload, finalize")[0] == 400, "too short"
    assert client.part(url, b"1234567890", 0, "upload, finalize")[0] == 404, "over"


def test_a_name_is_taken_once(client: Client) -> None:
    client.upload(b"12345", name="files/once")
    assert client.start({"name": "files/once"}, 5)[0] == 409
    client.ask("DELETE", "/v1beta/files/once")


def test_a_file_that_is_not_ready(client: Client) -> None:
    file = client.upload(wav(9000), displayName="stuck")
    assert file["state"] == "PROCESSING"
    status, body, _ = client.generate({"fileData": {"mimeType": "audio/wav", "fileUri": file["uri"]}})
    assert (status, body["error"]["status"]) == (400, "FAILED_PRECONDITION")
    client.ask("DELETE", f"/v1beta/{file['name']}")
    file = client.upload(wav(9000), displayName="failed")
    assert file["state"] == "FAILED"
    client.ask("DELETE", f"/v1beta/{file['name']}")


# -- behaviours -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 401, 403, 404, 408, 413, 429, 500, 503, 504])
def test_errors_by_name(client: Client, status: int) -> None:
    answered, body, _ = client.generate({"text": "?"}, model=f"gemini-e{status}")
    assert (answered, body["error"]["code"]) == (status, status)


def test_quotas(client: Client) -> None:
    for model, period in (("e429", "PerMinute"), ("e429day", "PerDay")):
        failure, retry = client.generate({"text": "?"}, model=model)[1]["error"]["details"]
        assert period in failure["violations"][0]["quotaId"]
        assert retry["retryDelay"] == "7s"


def test_answers_by_name(client: Client) -> None:
    assert client.generate({"text": "?"}, model="safety")[1]["promptFeedback"] == {"blockReason": "SAFETY"}
    assert client.generate({"text": "?"}, model="blocked")[1]["candidates"][0]["finishReason"] == "SAFETY"
    assert client.generate({"text": "?"}, model="maxtok")[1]["candidates"][0]["finishReason"] == "MAX_TOKENS"
    assert "candidates" not in client.generate({"text": "?"}, model="empty")[1]
    assert said(client.generate({"text": "?"}, model="badenum"))["sentiment"] == "simulated-nonsense"
    with pytest.raises(ValueError, match=r"Expecting|Unterminated"):
        said(client.generate({"text": "?"}, model="badjson"))


def test_failures_that_pass(client: Client) -> None:
    assert [client.generate({"text": "again"}, model="flaky2")[0] for _ in range(3)] == [503, 503, 200]
    assert client.generate({"text": "another"}, model="flaky2")[0] == 503


def test_connections_that_break(client: Client) -> None:
    with pytest.raises(http.client.IncompleteRead):
        client.generate({"text": "?"}, model="truncated")
    with pytest.raises(ConnectionResetError):
        client.generate({"text": "?"}, model="reset")


def test_answers_that_do_not_come_to_an_end(base_url: str) -> None:
    address = urlsplit(base_url)
    body = b'{"contents":[{"parts":[{"text":"?"}]}]}'
    for model, some in (("hang", 0), ("trickle", 1)):
        with socket.create_connection((address.hostname or "", address.port or 0), timeout=10) as connection:
            head = f"POST /v1/models/{model}:generateContent HTTP/1.1\r\nHost: x\r\nx-goog-api-key: {KEY}\r\n"
            connection.sendall(head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body)
            connection.settimeout(0.6)
            got = b""
            with pytest.raises(TimeoutError):
                while True:
                    got += connection.recv(65536)
            assert len(got.partition(b"\r\n\r\n")[2]) == some


def test_a_port_that_is_taken(base_url: str) -> None:
    with pytest.raises(GeminiNotStarted):
        launch(["--port", str(urlsplit(base_url).port)])
