"""The one good question, where a request does not say what the model must do."""

from kriptik.pipeline.intent.names import Named
from kriptik.pipeline.intent.text import Reading
from kriptik.spec.intent import DataMention


def question(reading: Reading, named: Named, data: DataMention | None) -> str:
    """Asked in terms of what the person already told."""
    if data and data.type in ("audio", "video", "image"):
        thing = {"audio": "recordings", "video": "videos", "image": "images"}[data.type]
        return f"What should the model do with the {thing}: make new ones like them, describe them, or sort and recognise them?"
    if data and data.type:
        return "What should the model do with this data: answer people in a chat, write texts, write code, or search it?"
    if named.base:
        return f"What should {named.base} learn to do?"
    return (
        "What should the model produce: text, chat answers, code, images, video, music, a voice, "
        "search results, or a judgement such as a label?"
    )
