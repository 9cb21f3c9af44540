"""The manifests: they are YAML, their probes ask paths that there are, and their times fit each other."""

import pathlib
import re

import pytest
import yaml

from t5x_lite.serving.command import read_flags
from t5x_lite.serving.sections import DEFAULTS

DEPLOY = pathlib.Path(__file__).resolve().parents[2] / "deploy"


def manifests(name):
    return list(yaml.safe_load_all((DEPLOY / name).read_text(encoding="utf-8")))


def container():
    deployment, service = manifests("kubernetes.yaml")
    pod = deployment["spec"]["template"]["spec"]
    assert deployment["spec"]["selector"]["matchLabels"] == service["spec"]["selector"]
    (found,) = pod["containers"]
    return pod, found


@pytest.mark.parametrize("probe", ["startupProbe", "livenessProbe", "readinessProbe"])
def test_probes_ask_what_the_server_answers(server, probe):
    asked = container()[1][probe]["httpGet"]
    assert server.client.get(asked["path"]).status_code == 200
    assert asked["port"] == "http"
    assert (asked["path"] == "/readyz") == (probe == "readinessProbe")


def test_a_pod_has_the_time_to_end_what_runs():
    pod, one = container()
    settings = read_flags(one["args"])
    _, seconds = one["lifecycle"]["preStop"]["exec"]["command"]
    assert pod["terminationGracePeriodSeconds"] > settings.drain_timeout + int(seconds)
    assert {mount["name"] for mount in one["volumeMounts"]} == {v["name"] for v in pod["volumes"]}


def test_compose(server):
    (compose,) = manifests("compose.yaml")
    one, balancer = compose["services"]["serve"], compose["services"]["balancer"]
    read_flags(one["command"])
    path = re.search(r"127\.0\.0\.1:8000(/\w+)", " ".join(one["healthcheck"]["test"])).group(1)
    assert server.client.get(path).status_code == 200
    assert int(one["stop_grace_period"].removesuffix("s")) > DEFAULTS["drain_timeout"]
    assert all(port.startswith("127.0.0.1:") for port in balancer["ports"])
    nginx = (DEPLOY / "nginx.conf").read_text(encoding="utf-8")
    assert "server serve:8000" in nginx and "proxy_buffering off" in nginx
    (seconds,) = re.findall(r"proxy_read_timeout (\d+)s", nginx)
    assert int(seconds) > DEFAULTS["request_timeout"]
    entry = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    assert '"t5x-lite", "serve"' in entry and '--port", "8000' in entry
