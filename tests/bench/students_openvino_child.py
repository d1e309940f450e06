"""OpenVINO GenAI on an exported GGUF file, greedy, one prompt at a time, in a child of :mod:`tests.bench.students`.

Reads a job (JSON) from stdin: the file, the prompts, most tokens of an answer, threads. Prints one JSON line a prompt:
the ids that the file's own tokenizer makes of it, the ids of the answer, seconds. It loads nothing of llmhar: what is
measured is the file, read by somebody else.
"""

from __future__ import annotations

import json
import sys
from time import perf_counter
from typing import Any


def say(**line: Any) -> None:
    """One line to the parent."""
    print(json.dumps(line), flush=True)


def main() -> None:
    """Answer all prompts of a job."""
    import openvino_genai

    job = json.load(sys.stdin)
    pipe = openvino_genai.LLMPipeline(job["file"], "CPU", INFERENCE_NUM_THREADS=job["threads"])
    tokenizer = pipe.get_tokenizer()
    for prompt in job["prompts"]:
        encoded = tokenizer.encode(prompt, add_special_tokens=False)
        settings = openvino_genai.GenerationConfig()
        settings.max_new_tokens, settings.do_sample, settings.apply_chat_template = job["max_tokens"], False, False
        start = perf_counter()
        done = pipe.generate(encoded, settings)
        say(ids=encoded.input_ids.data[0].tolist(), tokens=done.tokens[0], seconds=perf_counter() - start)


if __name__ == "__main__":
    main()
