"""Resources and values as they are typed on a command line."""

import json
from pathlib import Path
from typing import Any, TypeVar

from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.message import Message

from lepton_common.errors import InvalidField

M = TypeVar("M", bound=Message)

NEGATIVE_NUMBERS = {"ignore_unknown_options": True}
"""Settings of commands with arguments such as -1, which is no option."""


def full_name(collection: str, name: str) -> str:
    """`datasets/digits` for either `digits` or `datasets/digits`."""
    return name if name.startswith(f"{collection}/") else f"{collection}/{name}"


def version_name(collection: str, name: str) -> str:
    """`models/digits/versions/3` for itself, `digits/3`, `digits@3`, or `digits` (the latest)."""
    if "/versions/" in name:
        return full_name(collection, name)
    stem, _, version = name.removeprefix(f"{collection}/").replace("@", "/").partition("/")
    return f"{collection}/{stem}/versions/{version or 'latest'}"


def read_message(text: str, message: M, where: str) -> M:
    """A message from JSON text, or from a JSON or YAML file as `@file`; empty text leaves it as it is.

    Args:
        text: what was typed.
        message: what to fill.
        where: the option, for the text of an error.

    Raises:
        InvalidField: the file cannot be read, or the content is not such a message.
    """
    if not text:
        return message
    import yaml

    try:
        content = yaml.safe_load(Path(text[1:]).read_text() if text.startswith("@") else text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as wrong:
        raise InvalidField(f"{where}: {wrong}") from wrong
    if not isinstance(content, dict):
        raise InvalidField(f"{where} must be a JSON object, or @FILE of one, and not {text!r:.60}")
    try:
        return ParseDict(content, message)
    except ParseError as wrong:
        raise InvalidField(f"{where}: {wrong}") from wrong


def read_json(text: str, where: str) -> Any:
    """A value from JSON text.

    Raises:
        InvalidField: it is not JSON.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as wrong:
        raise InvalidField(f"{where} is not JSON: {wrong}") from wrong
