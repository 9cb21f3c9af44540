"""The playground in a real browser: by keyboard, on a phone, dark; and what its files may do."""

import asyncio
import os
import pathlib
import re

import pytest

from t5x_lite.serving import app
from tests.serving.browser import CHROMIUM, page

PICTURES = os.environ.get("T5X_LITE_PICTURES")  # a folder, for whoever wants to see them


def test_it_needs_no_network_and_stands_in_no_other_page(server):
    for name, kind in (("", "text/html"), ("playground.js", "text/javascript")):
        answer = server.client.get(f"/{name}")
        assert answer.status_code == 200 and answer.headers["content-type"].startswith(kind)
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert not re.findall(r"(?:src|href|url)\W{1,3}https?:|//cdn|@import", answer.text)
    text = server.client.get("/").text
    scripts = re.findall(r'<script src="([\w.]+)">', text)
    assert [server.client.get(f"/{script}").status_code for script in scripts] == [200]
    assert "<script>" not in text and not re.search(r"\son\w+=", text)  # its policy forbids them


def test_every_control_has_a_label():
    text = (app._PLAYGROUND / "index.html").read_text(encoding="utf-8")
    for control in re.finditer(r"<(?:input|select|textarea)\b", text):
        before = text[: control.start()]
        assert before.rfind("<label") > before.rfind("</label>"), text[control.start() :][:60]


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_in_a_browser(server, tmp_path):
    pictures = pathlib.Path(PICTURES or tmp_path)

    async def see():
        async with page(server.url, tmp_path / "browser") as here:
            await here.until("document.querySelectorAll('[data-name=model] option').length === 6")
            await here.look(1280, 1000)
            # By keys alone: from the top, every control can be reached.
            reached = set()
            for _ in range(40):
                await here.key("Tab", 9)
                reached.add(
                    await here.value(
                        "document.activeElement.id || document.activeElement.dataset.name || ''"
                    )
                )
            assert {
                "template",
                "text",
                "go",
                "both",
                "shade",
                "temperature",
                "num_beams",
            } <= reached
            await here.value(
                "document.querySelector('textarea[name=dialogue]').value = 'Bob will be at the market.';"
                "document.getElementById('text').value = '{dialogue}';"
                "document.getElementById('text').dispatchEvent(new Event('input'));"
                "document.querySelectorAll('[data-name=max_tokens]').forEach((one) => { one.value = 12; });"
                "document.getElementById('both').click(); document.getElementById('shade').click()"
            )
            await here.key("Enter", 13, modifiers=2)
            outs = "[...document.querySelectorAll('.out')].map((one) => one.textContent)"
            await here.until(
                "[...document.querySelectorAll('.note')].slice(1).every((n) => /first token after/.test(n.textContent))"
            )
            first, second = await here.value(outs)
            body = {"prompt": "Bob will be at the market.", "max_tokens": 12, "logprobs": 5}
            expected = server.complete(**body, temperature=0).json()["choices"][0]
            assert first == "".join(expected["logprobs"]["tokens"]) != second
            shaded = await here.value(
                "[...document.querySelectorAll('.token')].map((one) => [one.title, one.style.background])"
            )
            assert all(
                re.match(r"-?\d+\.\d+ \(", title) and "/" in shade for title, shade in shaded
            )
            await here.value("document.querySelector('.out').focus()")
            await here.key("ArrowRight", 39)
            assert await here.value("document.activeElement.className") == "token"
            curl, python = (await here.value("document.querySelector('pre').textContent")).split(
                "\n\n"
            )
            assert curl.startswith(f"curl {server.url}/v1/completions") and "OpenAI(" in python
            compile(python, "copied", "exec")
            for name, width, dark in (
                ("wide", 1280, False),
                ("wide_dark", 1280, True),
                ("phone", 390, False),
            ):
                await here.look(width, 900, dark=dark)
                assert await here.value("document.documentElement.scrollWidth") <= width, name
                await here.picture(pictures / f"playground_{name}.png")
            # What the server refuses is told where it was asked for.
            await here.value(
                "document.querySelector('[data-name=max_tokens]').value = 999; document.getElementById('go').click()"
            )
            await here.until(
                "/max_tokens = 999/.test(document.querySelectorAll('.note.bad')[0]?.textContent)"
            )
            await here.until("!document.getElementById('go').disabled")
            return [e for e in here.errors if "400" not in e and '"recommendation"' not in e]

    assert asyncio.run(see()) == []
