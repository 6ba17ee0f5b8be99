"""Chat templates: those of published folders as ours, and ours as `transformers` writes them."""

from __future__ import annotations

import json
import re
from typing import Any

from sensorium.families.folder import Folder
from sensorium.template import ChatTemplate, Turn
from sensorium.tokenizers.tokenizer import Tokenizer

IMAGE = "<image>"
ROLES = ("system", "user", "assistant")


def published_template(folder: Folder) -> ChatTemplate:
    """Ours of the folder's chat template, told by its marks and never run: ChatML's, Llama 3's or Phi-3's. Of another,
    or of none, what is left is running text between the tokens that begin and end it."""
    settings, text = folder.json("tokenizer_config.json"), template_text(folder)
    begin, end = token_of(settings, "bos_token"), token_of(settings, "eos_token")
    begin = begin if settings.get("add_bos_token", begin and "Llama" in str(settings.get("tokenizer_class"))) else ""
    if "<|im_start|>" in text:
        roles = {r: Turn(prefix=f"<|im_start|>{r}\n", end="<|im_end|>", after="\n") for r in ROLES}
    elif "<|start_header_id|>" in text:
        roles = {r: Turn(prefix=f"<|start_header_id|>{r}<|end_header_id|>\n\n", end="<|eot_id|>") for r in ROLES}
    elif "<|user|>" in text and "<|end|>" in text:
        roles = {r: Turn(prefix=f"<|{r}|>\n", end="<|end|>", after="\n") for r in ROLES}
    else:
        roles = {"system": Turn(), "user": Turn(), "assistant": Turn(end=end)}
    said = re.search(r"<\|im_start\|>system(?:\\n|\n)([^{}'<]+)<\|im_end\|>", text)
    default = said[1] if said else ""
    return ChatTemplate(document=Turn(end=end), image=IMAGE, begin=begin, default_system=default).model_copy(
        update=roles
    )


def conversation(folder: Folder, default_system: str = "") -> ChatTemplate:
    """Vicuna's: `USER: <image>` and a line end, the question, ` ASSISTANT:`, the answer, the token that ends texts. Of
    a folder whose chat template has Mistral's marks, `[INST] <image>`, a line end, the question, ` [/INST]`, the
    answer, the token that ends texts."""
    settings = folder.json("tokenizer_config.json")
    end = token_of(settings, "eos_token") or "</s>"
    common: dict[str, Any] = {
        "document": Turn(end=end), "image": IMAGE, "begin": token_of(settings, "bos_token"), "after_image": "\n"
    }  # fmt: skip
    if "[INST]" in template_text(folder):
        user = Turn(prefix="[INST] ", after=" [/INST]")
        return ChatTemplate(**common, system=Turn(after="\n"), user=user, assistant=Turn(end=end))
    return ChatTemplate(
        **common,
        system=Turn(after=" "),
        user=Turn(prefix="USER: ", after=" "),
        assistant=Turn(prefix="ASSISTANT:", end=end),
        default_system=default_system,
    )


def template_text(folder: Folder) -> str:
    """The folder's chat template, from wherever versions of `transformers` have put it; empty if there is none."""
    places = (folder.json(name).get("chat_template") for name in ("tokenizer_config.json", "chat_template.json"))
    return folder.text("chat_template.jinja") or str(next((text for text in places if text), ""))


def token_of(settings: dict[str, Any], name: str) -> str:
    """The text of a special token in a tokenizer_config.json; empty if it has none."""
    found = settings.get(name) or ""
    return found.get("content", "") if isinstance(found, dict) else str(found)


def chat_template(template: ChatTemplate, image: str = "") -> str:
    """Ours in Jinja. Messages have a `role`, and as `content` a text or a list of texts and pictures, for which
    `image` is written."""
    quoted = json.dumps
    lines = [quoted_output(template.begin)]
    if said := template.default_system:
        turn = template.system
        whole = turn.prefix + said + turn.end + turn.after
        lines.append("{%- if messages[0]['role'] != 'system' -%}" + quoted_output(whole) + "{%- endif -%}")
    lines.append("{%- for message in messages -%}")
    pictured = quoted(template.before_image + image + template.after_image)
    for number, role in enumerate(ROLES):
        turn, word = template.turn(role), "if" if not number else "elif"
        lines += [f"{{%- {word} message['role'] == {quoted(role)} -%}}", quoted_output(turn.prefix)]
        lines.append(
            "{%- if message['content'] is string -%}{{ message['content'] }}{%- else -%}"
            "{%- for part in message['content'] -%}{%- if part['type'] == 'image' -%}{{ " + pictured + " }}"
            "{%- else -%}{{ part['text'] }}{%- endif -%}{%- endfor -%}{%- endif -%}"
        )
        lines.append(quoted_output(turn.end + turn.after))
    lines.append("{%- endif -%}{%- endfor -%}")
    opening = quoted_output(template.assistant.prefix)
    lines.append("{%- if add_generation_prompt -%}" + opening + "{%- endif -%}")
    return "".join(lines)


def quoted_output(text: str) -> str:
    return "{{ " + json.dumps(text, ensure_ascii=False) + " }}" if text else ""


def tokenizer_files(tokenizer: Tokenizer, template: ChatTemplate, context: int, image: str = "") -> dict[str, Any]:
    """tokenizer_config.json and generation_config.json; tokenizer.json is the tokenizer's own."""
    end = next((turn for turn in (template.assistant.end, template.document.end) if turn), "")
    special = {"pad_token": tokenizer.pad_token}
    ids: dict[str, Any] = {"pad_token_id": tokenizer.pad_id}
    for name, text in (("bos", template.begin), ("eos", end)):
        if text and tokenizer.rust.token_to_id(text) is not None:
            special[f"{name}_token"] = text
            ids[f"{name}_token_id"] = tokenizer.id_of(text)
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": context,
        "clean_up_tokenization_spaces": False,
        "chat_template": chat_template(template, image),
        **special,
        **({"image_token": image, "extra_special_tokens": {"image_token": image}} if image else {}),
    }
    return {"tokenizer_config.json": settings, "generation_config.json": {"do_sample": False, **ids}}
