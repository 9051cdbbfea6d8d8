"""The screens of a data set of recordings: their words in every state. See `states.py`."""

import re

WORDS = "**/transcripts"
LONG_ENOUGH = re.compile("^Nobody says what is spoken")


def open_data(visitor, world, name):
    visitor.open(f"/data/{world.data[name]}")
    visitor.page.get_by_role("heading", name="Your data").wait_for()


def words(visitor, world):
    """Some were corrected, some checked, of some the model was not sure, in one it heard nothing."""
    open_data(visitor, world, "heard")
    visitor.page.get_by_text("Written by you").first.wait_for()


def words_loading(visitor, world):
    """The answer never comes."""
    visitor.page.route(WORDS, lambda route: None)
    open_data(visitor, world, "heard")
    visitor.page.get_by_text("Loading the words").wait_for(state="attached")
    visitor.page.wait_for_timeout(400)


def words_failed(visitor, world):
    problem = {"code": "bad_transcripts", "detail": "transcripts.json cannot be read.", "nextStep": "Delete it."}
    visitor.page.route(WORDS, lambda route: route.fulfill(status=422, json=problem))
    open_data(visitor, world, "heard")
    visitor.page.get_by_role("alert").wait_for()


def words_unsure(visitor, world):
    words(visitor, world)
    visitor.page.get_by_role("button", name=re.compile("^Unsure")).click()
    visitor.page.get_by_role("button", name=re.compile("^Unsure"), pressed=True).wait_for()


def words_changed(visitor, world):
    words(visitor, world)
    visitor.page.get_by_role("textbox").nth(3).fill("the words as I heard them")
    visitor.page.get_by_text("Not saved yet").wait_for()


def words_saving(visitor, world):
    """The answer never comes."""
    visitor.page.route(WORDS + "/*", lambda route: None)
    words_changed(visitor, world)
    visitor.page.keyboard.press("Enter")
    visitor.page.get_by_text("Saving", exact=True).wait_for()


def words_saved(visitor, world):
    words(visitor, world)
    visitor.page.get_by_role("checkbox", name=re.compile(r"^Checked ?: 7\.wav")).set_checked(True)
    visitor.page.get_by_text("Saved", exact=True).wait_for()
    visitor.page.get_by_role("button", name="Examine again").wait_for()


def words_not_saved(visitor, world):
    problem = {"code": "disk_full", "detail": "The server's disk is full.", "nextStep": "Delete runs that nobody needs."}
    visitor.page.route(WORDS + "/*", lambda route: route.fulfill(status=507, json=problem))
    words_changed(visitor, world)
    visitor.page.keyboard.press("Enter")
    visitor.page.get_by_role("alert").wait_for()


def words_not_asked(visitor, world):
    open_data(visitor, world, "silent")
    visitor.page.get_by_role("button", name="Write the words down").wait_for()


def words_writing(visitor, world):
    """The model is asked, and does not come to an end."""
    visitor.page.route(WORDS, lambda route: None if route.request.method == "POST" else route.continue_())
    words_not_asked(visitor, world)
    visitor.page.get_by_role("button", name="Write the words down").click()
    visitor.page.get_by_text("The recordings are being listened to").wait_for()


def words_not_written(visitor, world):
    problem = {
        "code": "not_transcribed", "detail": "The words of the recordings could not be written down: the model broke off.",
        "nextStep": "Try again; or give the words yourself, in a table beside the recordings.",
    }  # fmt: skip
    fail = {"status": 503, "json": problem}
    visitor.page.route(WORDS, lambda route: route.fulfill(**fail) if route.request.method == "POST" else route.continue_())
    words_not_asked(visitor, world)
    visitor.page.get_by_role("button", name="Write the words down").click()
    visitor.page.get_by_role("alert").wait_for()


def words_no_model(visitor, world):
    open_data(visitor, world, "unheard")
    visitor.page.get_by_text(LONG_ENOUGH).wait_for()


def words_given(visitor, world):
    open_data(visitor, world, "said")
    visitor.page.get_by_text("Every recording came with its words").wait_for()


def data_gone(visitor, world):
    visitor.open("/data/01NOSUCHDATA")
    visitor.page.get_by_role("heading", name="This data cannot be shown").wait_for()


def data_of_text(visitor, world):
    """Rows that nobody speaks: no words to listen to."""
    open_data(visitor, world, "text")
    assert visitor.page.get_by_role("heading", name="Words").count() == 0


def landing_with_data(visitor, world):
    open_data(visitor, world, "heard")
    visitor.page.get_by_role("link", name="Train on it").click()
    visitor.page.get_by_role("region", name="Data: voice.zip").get_by_role("link", name="Words of the recordings").wait_for()


ALL = (
    words, words_loading, words_failed, words_unsure, words_changed, words_saving, words_saved, words_not_saved, words_not_asked,
    words_writing, words_not_written, words_no_model, words_given, data_gone, data_of_text, landing_with_data,
)  # fmt: skip
