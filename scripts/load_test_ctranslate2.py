"""The smallest server of CTranslate2 on the stack of `t5x-lite serve`: what scripts/load_test.py is run beside.

    ct2-transformers-converter --model DIRECTORY --output_dir ct2
    python scripts/load_test_ctranslate2.py --model ct2 --tokenizer DIRECTORY --port 8001

Greedy and streamed, nothing else. Who comes while a batch runs waits for the next one, up to `--max_batch`; within a
batch CTranslate2 tells of each token as it is chosen. Needs `pip install ctranslate2`.
"""

import argparse
import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import uvicorn
from prometheus_client import generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from t5x_lite.data.vocabulary import Vocabulary, load_vocabulary
from t5x_lite.decoding.stream import Pieces

Waiting = tuple[list[str], int, asyncio.Queue]


class Batches:
    """Requests, batch after batch."""

    def __init__(self, translator: Any, vocabulary: Vocabulary, max_batch: int):
        self._translator, self.vocabulary, self._max_batch = translator, vocabulary, max_batch
        self._waiting: asyncio.Queue[Waiting] = asyncio.Queue()

    def put(self, prompt: str, most: int) -> asyncio.Queue:
        """The queue that the prompt's tokens come through; None is the end."""
        (ids,) = self.vocabulary.encode([prompt], add_eos=True)
        tokens = self.vocabulary.tokenizer.convert_ids_to_tokens(ids)
        mine: asyncio.Queue = asyncio.Queue()
        self._waiting.put_nowait((tokens, most, mine))
        return mine

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            batch = [await self._waiting.get()]
            while len(batch) < self._max_batch and not self._waiting.empty():
                batch.append(self._waiting.get_nowait())
            await asyncio.to_thread(self._translate, batch, asyncio.get_running_loop())
            for _, _, queue in batch:
                queue.put_nowait(None)

    def _translate(self, batch: list[Waiting], loop: asyncio.AbstractEventLoop) -> None:
        def tell(step: Any) -> bool:
            loop.call_soon_threadsafe(batch[step.batch_id][2].put_nowait, step.token_id)
            return False

        self._translator.translate_batch(
            [tokens for tokens, _, _ in batch],
            beam_size=1,
            max_decoding_length=max(most for _, most, _ in batch),
            callback=tell,
        )


def make_app(batches: Batches) -> Starlette:
    """Completions, and what the process costs."""

    async def events(body: dict[str, Any]) -> AsyncIterator[bytes]:
        queue, pieces, count = (
            batches.put(body["prompt"], body["max_tokens"]),
            Pieces(batches.vocabulary),
            0,
        )
        while (token := await queue.get()) is not None:
            count += 1
            choice = {"index": 0, "text": pieces.push([token]), "finish_reason": None}
            yield f"data: {json.dumps({'choices': [choice]})}\n\n".encode()
        yield f"data: {json.dumps({'choices': [], 'usage': {'completion_tokens': count}})}\n\n".encode()
        yield b"data: [DONE]\n\n"

    async def completions(request: Request) -> Response:
        return StreamingResponse(events(await request.json()), media_type="text/event-stream")

    async def metrics(request: Request) -> Response:
        return Response(generate_latest())

    return Starlette(
        routes=[
            Route("/v1/completions", completions, methods=["POST"]),
            Route("/metrics", metrics),
        ]
    )


async def serve(options: argparse.Namespace) -> None:
    """Serves until a signal."""
    import ctranslate2

    translator = ctranslate2.Translator(options.model, intra_threads=options.threads)
    batches = Batches(translator, load_vocabulary(options.tokenizer), options.max_batch)
    running = asyncio.ensure_future(batches.run())
    config = uvicorn.Config(
        make_app(batches), port=options.port, loop="asyncio", http="h11", access_log=False
    )
    await uvicorn.Server(config).serve()
    running.cancel()


def main() -> None:
    """Reads the flags."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True, help="a directory that its converter wrote")
    parser.add_argument("--tokenizer", required=True, help="the directory that was converted")
    parser.add_argument("--port", type=int, default=8001)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--max_batch", type=int, default=32)
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
