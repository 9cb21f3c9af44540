"""A bounded load on a server of this machine, and how it stands it: a Markdown table.

    t5x-lite serve --model nano --max_batch 32 &
    python scripts/load_test.py --model nano --prompts t5x_lite/data/bundled/dialogues.jsonl

Streams completions of the prompts (JSON lines with a field `dialogue`) at 1, 8 and 32 clients, each of which asks
again as soon as it has its answer. Requests and tokens a second; median and 99th percentile of the time to the first
token and of the whole answer; requests that failed; the server's CPU time (which is less shaken by what else runs than
clocks are), its memory, and its compilations before and after. Beside it, with `--url NAME=URL` as often as you like,
other servers of OpenAI's completions: scripts/load_test_ctranslate2.py is one.

It answers for loopback alone: a load is nothing to put on machines of others.
"""

import argparse
import asyncio
import dataclasses
import json
import pathlib
import time
import urllib.parse
import urllib.request

import numpy as np

from t5x_lite.reports.tables import markdown_table

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_MOST_REQUESTS, _MOST_CLIENTS = 10_000, 256


@dataclasses.dataclass(frozen=True)
class Done:
    """One request. first, whole: seconds until the first token, and the last. tokens: that came. error: "" if none."""

    first: float
    whole: float
    tokens: int
    error: str = ""


async def ask(url: urllib.parse.ParseResult, body: bytes) -> Done:
    """A streamed completion, over a connection of its own."""
    begin = time.perf_counter()
    first, tokens, ended, error = 0.0, 0, False, ""
    try:
        reader, writer = await asyncio.open_connection(url.hostname, url.port, limit=1 << 20)
        head = (
            f"POST /v1/completions HTTP/1.1\r\nhost: {url.netloc}\r\nconnection: close\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        writer.write(head.encode() + body)
        status = (await reader.readline()).split()[1]
        error = "" if status == b"200" else f"status {status.decode()}"
        async for line in reader:
            if line.startswith(b"data: [DONE]"):
                ended = True
            elif line.startswith(b"data: "):
                event = json.loads(line[6:])
                first = first or time.perf_counter() - begin
                tokens = event.get("usage", {}).get("completion_tokens", tokens)
                error = error or ("an event" if "error" in event else "")
        writer.close()
    except (OSError, ValueError, IndexError) as problem:
        error = repr(problem)
    return Done(first, time.perf_counter() - begin, tokens, error or ("" if ended else "cut off"))


async def load(url: str, bodies: list[bytes], clients: int) -> tuple[list[Done], float]:
    """All bodies, by so many clients at once; and the seconds it took."""
    place, waiting, done = urllib.parse.urlparse(url), iter(bodies), []

    async def client() -> None:
        for body in waiting:
            done.append(await ask(place, body))

    begin = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    return done, time.perf_counter() - begin


def metrics(url: str) -> dict[str, float]:
    """What the server's /metrics says; {} where it has none."""
    try:
        with urllib.request.urlopen(f"{url}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
    except OSError:
        return {}
    return {
        line.rpartition(" ")[0]: float(line.rpartition(" ")[2])
        for line in lines
        if not line.startswith("#")
    }


def row_of(name: str, url: str, bodies: list[bytes], clients: int) -> dict[str, object]:
    """One line of the table."""
    before = metrics(url)
    done, seconds = asyncio.run(load(url, bodies, clients))
    after = metrics(url)
    good = [one for one in done if not one.error]
    for one in {one.error: one for one in done if one.error}.values():
        print(f"{name}, {clients} clients: {one.error}")
    first, whole = ([getattr(one, part) for one in good] or [np.nan] for part in ("first", "whole"))
    memory = [m.get("process_resident_memory_bytes", np.nan) / 2**20 for m in (before, after)]
    cpu = [m.get("process_cpu_seconds_total", np.nan) for m in (before, after)]
    compiled = [m.get("t5x_lite_compilations", np.nan) for m in (before, after)]
    return {
        "server": name,
        "clients": clients,
        "requests": len(done),
        "failed": len(done) - len(good),
        "requests/s": f"{len(good) / seconds:.1f}",
        "tokens/s": f"{sum(one.tokens for one in good) / seconds:.0f}",
        "first token p50, ms": f"{1e3 * np.quantile(first, 0.5):.1f}",
        "p99": f"{1e3 * np.quantile(first, 0.99):.1f}",
        "answer p50, ms": f"{1e3 * np.quantile(whole, 0.5):.1f}",
        "p99 ": f"{1e3 * np.quantile(whole, 0.99):.1f}",
        "CPU ms a request": f"{1e3 * (cpu[1] - cpu[0]) / len(done):.1f}",
        "RSS, MiB": f"{memory[0]:.0f} to {memory[1]:.0f}",
        "compilations": f"{compiled[0]:.0f} to {compiled[1]:.0f}",
    }


def bodies_of(options: argparse.Namespace) -> list[bytes]:
    """The requests, as many as asked for: the file's prompts, again and again."""
    lines = pathlib.Path(options.prompts).read_text(encoding="utf-8").splitlines()
    dialogues = [json.loads(line)["dialogue"] for line in lines if line.strip()]
    template = options.template.replace("\\n", "\n")
    return [
        json.dumps(
            {
                "model": options.model,
                "prompt": template.replace("{dialogue}", dialogues[number % len(dialogues)]),
                "max_tokens": options.max_tokens,
                "stream": True,
                "stream_options": {"include_usage": True},
            }
        ).encode()
        for number in range(options.requests)
    ]


def read_options() -> argparse.Namespace:
    """The flags."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--url", action="append", help="[NAME=]URL, as often as you like")
    parser.add_argument("--model", required=True)
    parser.add_argument("--prompts", required=True, help="JSON lines with a field `dialogue`")
    parser.add_argument(
        "--template", default="Summarize the following conversation.\\n\\n{dialogue}\\n\\nSummary: "
    )
    parser.add_argument("--clients", default="1,8,32")
    parser.add_argument("--requests", type=int, default=200, help="of each number of clients")
    parser.add_argument("--max_tokens", type=int, default=64)
    options = parser.parse_args()
    options.clients = [int(count) for count in options.clients.split(",")]
    if not 0 < options.requests <= _MOST_REQUESTS or max(options.clients) > _MOST_CLIENTS:
        parser.error(f"up to {_MOST_REQUESTS} requests by {_MOST_CLIENTS} clients")
    urls = options.url or ["http://127.0.0.1:8000"]
    options.urls = [one.partition("=")[::2] if "=" in one else ("t5x_lite", one) for one in urls]
    for _, url in options.urls:
        if urllib.parse.urlparse(url).hostname not in _LOOPBACK:
            parser.error(f"{url}: loopback alone")
    return options


def main() -> None:
    """Runs the loads, server by server at each number of clients, and prints the table."""
    options = read_options()
    bodies = bodies_of(options)
    for _, url in options.urls:  # connections, caches: not what is measured
        asyncio.run(load(url, bodies[:8], 4))
    rows = [
        row_of(name, url, bodies, clients)
        for clients in options.clients
        for name, url in options.urls
    ]
    print(markdown_table(list(rows[0]), [list(row.values()) for row in rows]))


if __name__ == "__main__":
    main()
