"""Whether a request's pictures are to show a person: told by cue words, in many languages, and not of objects, pets and styles."""

from dataclasses import replace

import pytest
from planning_help import CLOUD, NOW, intent

from kriptik.pipeline.intent.people import kind_in, person_in
from kriptik.pipeline.plan.build import build_plan
from kriptik.pipeline.plan.choose import choose
from kriptik.pipeline.plan.site import Case, Rows

SHOWN = {
    "FLUX lora of my face, 15 selfies, quick": "my face",
    "DreamBooth of my girlfriend from 20 photos": "my girlfriend",
    "A LoRA of our CEO for the intranet, 40 portraits": "our CEO",
    "Textual inversion of my late husband": "my late husband",
    "photos I took of my daughter, 30 of them, make new ones": "my daughter",
    "800 pictures, me as an astronaut": "me",
    "talking avatar video of ME, 30 clips": "ME",
    "Draw my colleagues from the tax office as cats": "my colleagues",
    "turn my boyfriend into a viking, 12 pictures": "my boyfriend",
    "train SDXL on my wife, 25 images": "my wife",
    "Animate our pictures so grandma smiles and blinks": "grandma",
    "A model which lip-syncs our CEO's speeches to other languages": "our CEO",
    "LoRA of a specific woman who models for us": "a specific woman",
    "face swap into film posters": "face swap",
    "Lookbook images with our house models, 300 photos": "our house models",
    "make my wedding photos come alive as little movies": "my wedding photos",
    "Zeichne mir Comics, 20 Fotos von meiner Freundin": "meiner Freundin",
    "LoRA mit 30 Fotos unserer Chefin": "unserer Chefin",
    "Un LoRA avec 20 photos de ma copine": "ma copine",
    "Une image de mon visage en bande dessinée": "mon visage",
    "Entrena un LoRA con 20 fotos de mi novia": "mi novia",
    "Um LoRA com fotos da minha namorada": "minha namorada",
    "LoRA con 20 foto della mia ragazza": "mia ragazza",
    "LoRA met 20 foto's van mijn vriendin": "mijn vriendin",
    "LoRA na 20 zdjęciach mojej dziewczyny": "mojej dziewczyny",
    "Обучи LoRA на фото моей девушки": "моей девушки",
    "Kız arkadaşımın fotoğraflarıyla bir LoRA eğit": "Kız arkadaşımın",
    "用我女朋友的照片训练一个LoRA": "我女朋友",
    "彼女の写真でLoRAを学習したい": "彼女",
    "제 여자친구 사진으로 LoRA를 학습해 주세요": "제 여자친구",
    "मेरी पत्नी की तस्वीरों से LoRA": "मेरी पत्नी",
    "درّب LoRA على صور زوجتي": "زوجتي",
}

NOBODY = [
    "DreamBooth of our dog from 12 photos, budget $10",
    "LoRA of my cat, 20 photos",
    "sdxl LoRA for quilts like my grandmother's, 260 photos",
    "my daughter draws dragons. 40 drawings, photographed. Make a thing that draws more dragons like hers!",
    "my late husband painted watercolours, i photographed 74 of them. train something that paints like he did",
    "Flux dev, dora, 60 portraits of haircuts i did",
    "photos of my wife's pottery, 80 of them",
    "turn my kids' drawings into plush toys, 30 pictures",
    "turn my kids drawings into plush toys, 30 pictures",
    "Button dealer! 9,900 buttons photographed by my son, draw new ones",
    "Great-grandmother left a trunk of cross stitch charts, I photographed 410 pages of it",
    "our product on a white table, LoRA, 40 pictures",
    "the style of our studio, DoRA on FLUX",
    "an image LoRA for my girlfriend as a birthday present, 50 photos of our garden",
    "Generate realistic faces for our game characters from text descriptions",
    "a clock face designer, 300 pictures",
    "images for the team, 200 product shots",
    "my daughter's school needs flyers, 40 of them as png",
    "no photos of my wife, only of the house: 40 pictures",
    "fotos de mi perro, 20, un LoRA",
    "Imágenes de azulejos sevillanos con SDXL, 140 fotos mías",
    "LoRA aus 30 Zeichnungen meiner Tochter",
    "meine Tochter malt Drachen, 40 Bilder",
    "用我的猫的照片训练一个LoRA",
    "うちの猫の写真でLoRA",
]


@pytest.mark.parametrize("prompt", list(SHOWN))
def test_a_person_is_named_as_the_request_names_them(prompt):
    assert person_in(prompt) == SHOWN[prompt]


@pytest.mark.parametrize("prompt", NOBODY)
def test_objects_pets_styles_and_makers_are_nobody(prompt):
    assert person_in(prompt) is None


def test_what_a_method_is_told_of_its_subject():
    assert kind_in("a photo of a woman") == "woman" and kind_in("a photo of sks Mann") == "mann"
    assert [kind_in(one) for one in ("a photo of a dog", "a photo of sks", "a photo", "a humanoid robot")] == [None] * 4


def plan_of(wish, prompt, rows=None):
    chosen = choose(wish, CLOUD, rows)
    case = Case(wish, CLOUD, rows)
    return build_plan(chosen.choices, case, plan_id="p", contract_id="c", user_id="u", prompt=prompt, now=NOW)


@pytest.mark.parametrize("capability", ["image_generation", "video_generation"])
def test_the_plan_says_whose_consent_it_needs(capability):
    plan = plan_of(intent(capability), "a LoRA of my girlfriend")
    assert plan.consent_need.subject == "likeness" and plan.consent_need.who == "my girlfriend"
    assert any("my girlfriend" in one and "consent" in one for one in plan.warnings)
    plain = plan_of(intent(capability), "a LoRA of my cat")
    assert plain.consent_need is None and not any("consent" in one for one in plain.warnings)


def test_a_model_that_makes_no_pictures_needs_no_consent_of_whom_it_speaks_of():
    assert plan_of(intent("chat"), "pictures of my girlfriend in words").consent_need is None


def test_dreambooth_asks_where_its_subject_is_of_the_kind_of_people():
    wish = intent("image_generation", methods=["dreambooth"], quality_tier="consumer")
    case, choices = Case(wish, CLOUD), choose(wish, CLOUD, None).choices
    for told, who in (("a photo of a woman", "woman"), ("a photo of a dog", None)):
        objective = {**choices.settings.objective, "class_prompt": told}
        changed = choices.model_copy(update={"settings": choices.settings.model_copy(update={"objective": objective})})
        plan = build_plan(changed, case, plan_id="p", contract_id="c", user_id="u", prompt="DreamBooth of sks", now=NOW)
        assert (plan.consent_need.who if plan.consent_need else None) == who


RECORDINGS = Rows("ds", "voice.zip", rows=40, train_rows=36, tokens=4000, longest_tokens=400, kind="sounds")


@pytest.mark.parametrize(("others", "said"), [(None, "was not checked"), (0, None), (3, "3 of the recordings sound like another")])
def test_a_plan_for_a_voice_says_what_is_known_of_who_speaks(others, said):
    plan = plan_of(intent("voice_cloning"), "my voice", replace(RECORDINGS, other_voices=others))
    assert plan.choices.dataset_id == "ds"
    told = [one for one in plan.warnings if "of one person" in one]
    assert plan.consent_need.subject == "voice" and plan.consent_need.who is None
    assert (len(told) == 1 and said in told[0]) if said else not told
