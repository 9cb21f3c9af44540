import socket
import time
import urllib.request

import huggingface_hub
import pytest

from t5x_lite.data import hub


@pytest.fixture(autouse=True)
def forget(monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(urllib.request, "getproxies", dict)
    hub.is_offline.cache_clear()
    yield
    hub.is_offline.cache_clear()


def at(monkeypatch, port):
    endpoint = f"http://127.0.0.1:{port}"
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", endpoint)


def test_a_hub_that_answers_is_online_and_one_that_does_not_is_offline(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        at(monkeypatch, port)
        assert not hub.is_offline()
    hub.is_offline.cache_clear()
    start = time.monotonic()
    assert hub.is_offline()
    assert time.monotonic() - start < 6


def test_the_variable_and_a_proxy_decide_first(monkeypatch):
    at(monkeypatch, 9)  # discard: nothing listens
    monkeypatch.setattr(urllib.request, "getproxies", lambda: {"https": "http://proxy:1"})
    assert not hub.is_offline()
    hub.is_offline.cache_clear()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert hub.is_offline()
