"""The words of recordings, by keyboard alone and to the end: heard, corrected, checked, examined again, learnt."""

import sys

import pytest
import voices
from harness import until

from kriptik.server import scribe


@pytest.fixture
def hears(monkeypatch):
    monkeypatch.setattr(scribe, "COMMAND", (sys.executable, "-c", voices.HEARS))


def known(server, dataset_id):
    told = server.api("GET", f"/data/{dataset_id}/transcripts")["transcripts"]
    return {one["name"]: one for one in told.values()}


def test_words_are_written_down_and_corrected_by_keyboard(visitor, server, hears):
    page = visitor.page
    dataset_id = server.api("POST", "/data", 201, files=voices.recordings({}))["id"]
    visitor.open(f"/data/{dataset_id}")
    page.get_by_role("button", name="Write the words down").press("Enter")
    page.get_by_role("textbox", name="Words of 0.wav, 1.5 s").wait_for()
    assert page.get_by_role("textbox").count() == 8
    page.get_by_role("textbox", name="Words of 0.wav").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type("The ferry leaves at nine.")
    page.keyboard.press("Enter")
    page.keyboard.type("never mind")
    page.keyboard.press("Escape")
    page.keyboard.press("Tab")
    until(lambda: known(server, dataset_id)["1.wav"]["text"] == "The ferry leaves at nine.")
    told = known(server, dataset_id)
    assert told["0.wav"]["checked"] and told["0.wav"]["by"] == "Whisper tiny.en" and told["1.wav"]["by"] == "you"
    assert told["2.wav"]["text"] == "Sixty, or was it sixteen?" and not told["2.wav"]["checked"]
    page.get_by_role("textbox", name="Words of 2.wav").fill("Sixteen.")
    page.get_by_role("textbox", name="Words of 3.wav").focus()
    until(lambda: known(server, dataset_id)["2.wav"]["text"] == "Sixteen.")
    page.get_by_role("button", name="Examine again").press("Enter")
    page.get_by_text("written down by a model and corrected by you").first.wait_for()
    page.reload()
    page.get_by_role("textbox", name="Words of 1.wav").wait_for()
    assert page.get_by_role("textbox", name="Words of 1.wav").input_value() == "The ferry leaves at nine."


def test_a_clip_is_played_and_the_one_before_it_rests(visitor, server):
    page = visitor.page
    visitor.open(f"/data/{voices.heard(server)}")
    page.get_by_role("textbox", name="Words of 0.wav").focus()
    page.keyboard.press("Control+Enter")
    playing = "number => { const one = document.querySelectorAll('audio')[number]; return !one.paused && one.duration > 1.4 }"
    page.wait_for_function(playing, arg=0)
    page.get_by_role("textbox", name="Words of 1.wav").focus()
    page.keyboard.press("Control+Enter")
    page.wait_for_function(playing, arg=1)
    assert page.evaluate("document.querySelectorAll('audio')[0].paused")


def test_a_plan_over_unread_recordings_leads_to_their_words(visitor, server):
    page = visitor.page
    data = server.api("POST", "/data", 201, files=voices.recordings({}))["id"]
    visitor.open(f"/?data={data}")
    page.get_by_role("link", name="Words of the recordings").click()
    page.get_by_role("heading", name="Words", exact=True).wait_for()
    assert page.url.endswith(f"/data/{data}")
