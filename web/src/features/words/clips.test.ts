import { describe, expect, it } from "vitest";
import { chosen, clipsOf, clock, isUnsure, placeOf, sureness, type Transcript } from "./clips";

const told = (more: Partial<Transcript>): Transcript => ({ text: "good day", by: "a model", edited: false, checked: false, sure: 0.9, name: "a.wav", start: 0, seconds: 2, ...more });

describe("words of clips", () => {
  it("stand in order of recording and time", () => {
    const clips = clipsOf({ d: told({ name: "take 10.wav" }), c: told({ name: "take 2.wav", start: 61.6, seconds: 4.25 }), b: told({ name: "take 2.wav", start: 7 }) });
    expect(clips.map((one) => one.clip)).toEqual(["b", "c", "d"]);
    expect(clips.map(placeOf)).toEqual(["take 2.wav, from 0:07, 2.0 s", "take 2.wav, from 1:02, 4.3 s", "take 10.wav, 2.0 s"]);
    expect([clock(0), clock(59.6), clock(605)]).toEqual(["0:00", "1:00", "10:05"]);
  });
  it("are unsure until a person read them", () => {
    expect([told({ sure: 0.6 }), told({ text: "" }), told({ sure: null })].map(isUnsure)).toEqual([true, true, true]);
    expect([told({}), told({ sure: 0.6, checked: true }), told({ sure: null, edited: true })].map(isUnsure)).toEqual([false, false, false]);
    const shown = [told({ sure: 0.625 }), told({ sure: null }), told({ text: "" }), told({ edited: true })].map(sureness);
    expect(shown).toEqual(["63 % sure", "how sure is not known", "heard no words", ""]);
  });
  it("are filtered, the least sure first", () => {
    const clips = clipsOf({ a: told({ sure: 0.6 }), b: told({ sure: 0.4, start: 2 }), c: told({ start: 4 }), d: told({ start: 6, checked: true }) });
    expect(chosen(clips, "unsure").map((one) => one.clip)).toEqual(["b", "a"]);
    expect(chosen(clips, "unchecked").map((one) => one.clip)).toEqual(["a", "b", "c"]);
    expect(chosen(clips, "all")).toHaveLength(4);
  });
});
