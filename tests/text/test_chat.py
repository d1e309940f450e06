"""Chats rendered without transformers read as transformers writes them."""

import json
import subprocess
import sys

import pytest
from jinja2 import TemplateError
from tokenizers import Tokenizer, models

from llmhar.ask.task import prepare
from llmhar.data.events import Windowing
from llmhar.text.chat import ChatTokenizer
from llmhar.text.prompt import build_prompt

TURNS = ({"role": "user", "content": "<b>é</b>"},)


@pytest.fixture
def folder(tmp_path):
    """A tokenizer of one word, its template in the configuration."""
    Tokenizer(models.WordLevel({"a": 0}, unk_token="a")).save(str(tmp_path / "tokenizer.json"))
    config = {"eos_token": {"content": "<end>"}, "bos_token": "<s>", "pad_token": None, "add_bos_token": True,
              "chat_template": "config {{ bos_token }}{{ messages[0].content | tojson }}{{ eos_token }}"
                               "{% if add_generation_prompt %}>{% endif %}{{ mood }}"}  # fmt: skip
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    return tmp_path


def test_special_tokens_and_arguments_reach_the_template(folder):
    chat = ChatTokenizer(folder, {"mood": "calm"})
    assert chat.special == {"eos_token": "<end>", "bos_token": "<s>"}
    assert chat.render(TURNS) == 'config <s>"<b>é</b>"<end>>calm'
    assert chat.render(TURNS, asking=False) == 'config <s>"<b>é</b>"<end>calm'


def test_a_file_of_its_own_goes_before_the_configuration(folder):
    (folder / "chat_template.json").write_text(
        json.dumps({"chat_template": [{"name": "tools", "template": "no"}, {"name": "default", "template": "json"}]})
    )
    assert ChatTokenizer(folder).render(TURNS) == "json"
    lines = ("{% for m in messages %}", "  {{ m | tojson(indent=1) }}", "  {% break %}", "{% endfor %}", "end")
    (folder / "chat_template.jinja").write_text("\n".join(lines))
    assert ChatTokenizer(folder).render(TURNS) == '  {\n "role": "user",\n "content": "<b>é</b>"\n}\nend'


def test_a_template_may_refuse_and_reaches_nothing_else(folder):
    (folder / "chat_template.jinja").write_text("{{ raise_exception('two users in a row') }}")
    with pytest.raises(TemplateError, match="two users in a row"):
        ChatTokenizer(folder).render(TURNS)
    (folder / "chat_template.jinja").write_text("{{ messages.append(1) }}")
    with pytest.raises(TemplateError, match="unsafe"):
        ChatTokenizer(folder).render(TURNS)


@pytest.mark.real
def test_chats_are_rendered_as_transformers_does(smollm2, qwen3_tiny):
    """In a child: the only place where transformers may be imported."""
    task = prepare("simulated", windowing=Windowing(n=1))
    window = task.windows[0]
    messages = build_prompt(task.sessions[window.session_id]).messages(window)
    code = (
        "import json, sys\nfrom transformers import AutoTokenizer\n"
        "from llmhar.ask.engines.worker import render_prompt\n"
        "messages, cases = map(json.loads, sys.argv[1:])\n"
        "for place, arguments in cases:\n"
        "    t = AutoTokenizer.from_pretrained(place)\n"
        "    text = t.apply_chat_template(messages, tokenize=False, add_generation_prompt=True, **arguments)\n"
        "    print(json.dumps([text, *render_prompt(t, messages, arguments)]))"
    )
    cases = ((smollm2, {}), (qwen3_tiny, {}), (qwen3_tiny, {"enable_thinking": False}))
    given = [[dict(m) for m in messages], [[str(model.locate()), arguments] for model, arguments in cases]]
    command = [sys.executable, "-c", code, *map(json.dumps, given)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    for (model, arguments), line in zip(cases, done.stdout.splitlines()[-len(cases) :], strict=True):
        text, ids, opened = json.loads(line)
        own = ChatTokenizer(model.locate(), arguments)
        assert own.render(messages) == text and opened == ""
        assert own.tokenizer.encode(text, add_special_tokens=False).ids == ids
        assert own.marks(text) == tuple(i for i in ids if i in own.added)
        assert len(own.marks(text)) >= 5
