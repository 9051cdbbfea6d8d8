import { describe, expect, it } from "vitest";
import { lacking, NO_CONSENT, type Need, needOf } from "./Consent";

const GIVEN = { person: "Alex Example", statement: "I agree that a model learns my voice.", given: true };
const VOICE: Need = { subject: "voice" };
const SHOWN: Need = { subject: "likeness", who: "my girlfriend" };

describe("consent of a person", () => {
  it("is complete with a name, a statement and a confirmation", () => {
    expect(lacking(GIVEN, VOICE)).toEqual([]);
    expect(lacking(GIVEN, SHOWN)).toEqual([]);
  });
  it("says what is missing, the name first", () => {
    expect(lacking(NO_CONSENT, VOICE)).toHaveLength(3);
    expect(lacking({ ...GIVEN, person: " " }, VOICE)[0]).toContain("whose voice");
    expect(lacking({ ...GIVEN, person: " " }, SHOWN)[0]).toContain("who is shown");
    expect(lacking({ ...GIVEN, statement: "yes   do  it" }, VOICE)[0]).toContain("speaker says");
    expect(lacking({ ...GIVEN, given: false }, SHOWN)[0]).toContain("not confirmed");
  });
  it("is asked for by what the plan needs, and for voices always", () => {
    const plan = (capability: string, consentNeed: Need | null = null) => ({ consentNeed, choices: { capability } }) as Parameters<typeof needOf>[0];
    expect(needOf(plan("image_generation", SHOWN))).toEqual(SHOWN);
    expect(needOf(plan("image_generation"))).toBeNull();
    expect(needOf(plan("voice_cloning"))?.subject).toBe("voice");
  });
});
