#!/usr/bin/env python3
"""Writes constructs.json, chats.json and, where $KERF_DATA is set, shared.json.

Renders with transformers' own environment and render function; strftime_now is frozen to 26 July 2024. Made with the
versions named in the files. Run from this folder:  python make.py
"""
import datetime
import json
import os
import pathlib

import jinja2
import transformers
from transformers.utils import chat_template_utils as u

from constructs import REFUSED, RENDER
from templates import CHATS, TEMPLATES

HERE = pathlib.Path(__file__).parent
TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": " Grüße, 世界! \n"},
    {"role": "assistant", "content": "<think>\nhm\n</think>\n\nHello \"you\" & <b>it's</b>"},
    {"role": "user", "content": ""},
]


class Frozen(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls(2024, 7, 26)


u.datetime = Frozen


def render(template, messages, prompt, tokens=TOKENS, tools=None):
    # apply_chat_template drops keys without a value before it renders.
    messages = [{k: v for k, v in m.items() if v is not None} for m in messages]
    return u.render_jinja_template(
        conversations=[messages], chat_template=template, add_generation_prompt=prompt, tools=tools, **tokens
    )[0][0]


def refused(template):
    try:
        render(template, MESSAGES, False)
    except Exception:
        return True
    return False


def outcome(template, messages, prompt, tokens=TOKENS, tools=None):
    try:
        return {"text": render(template, messages, prompt, tokens, tools)}
    except Exception as e:
        return {"error": type(e).__name__}


def write(name, content):
    content = {"made_with": f"transformers {transformers.__version__}, jinja2 {jinja2.__version__}", **content}
    # A case per line.
    lines = ["{"]
    for key, value in content.items():
        last = key == list(content)[-1]
        if isinstance(value, list):
            items = ",\n".join(json.dumps(item) for item in value)
            lines.append(f"{json.dumps(key)}: [\n{items}\n]" + ("" if last else ","))
        else:
            lines.append(f"{json.dumps(key)}: {json.dumps(value)}" + ("" if last else ","))
    (HERE / name).write_text("\n".join(lines) + "\n}\n")


def main():
    for template in REFUSED:
        assert refused(template), template
    write("constructs.json", {
        "tokens": TOKENS, "messages": MESSAGES,
        "render": [{"template": t, "text": render(t, MESSAGES, False)} for t in RENDER],
        "refused": REFUSED,
    })
    cases = [{"template": name, "chat": chat, "prompt": prompt,
              **outcome(template, CHATS[chat]["messages"], prompt, tools=CHATS[chat].get("tools"))}
             for name, template in TEMPLATES.items() for chat in range(len(CHATS)) for prompt in (False, True)]
    write("chats.json", {"tokens": TOKENS, "templates": TEMPLATES, "chats": CHATS, "cases": cases})
    if "KERF_DATA" not in os.environ:
        return
    shared = []
    for folder in sorted((pathlib.Path(os.environ["KERF_DATA"]) / "tokenizers").iterdir()):
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        if tokenizer.chat_template is None:
            continue
        for chat in range(len(CHATS)):
            for prompt in (False, True):
                case = {"tokenizer": folder.name, "chat": chat, "prompt": prompt}
                try:
                    options = {"tools": CHATS[chat].get("tools"), "add_generation_prompt": prompt}
                    case["text"] = tokenizer.apply_chat_template(CHATS[chat]["messages"], tokenize=False, **options)
                    ids = tokenizer.apply_chat_template(CHATS[chat]["messages"], tokenize=True, **options)
                    case["ids"] = list(ids["input_ids"]) if hasattr(ids, "keys") else list(ids)
                except Exception as e:
                    case["error"] = type(e).__name__
                shared.append(case)
    write("shared.json", {"chats": CHATS, "cases": shared})


if __name__ == "__main__":
    main()
