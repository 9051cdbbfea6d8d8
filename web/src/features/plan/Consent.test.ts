import { describe, expect, it } from "vitest";
import { lacking, NO_CONSENT } from "./Consent";

const GIVEN = { speaker: "Alex Example", statement: "I agree that a model learns my voice.", given: true };

describe("consent of a speaker", () => {
  it("is complete with a name, a statement and a confirmation", () => {
    expect(lacking(GIVEN)).toEqual([]);
  });
  it("says what is missing, the name first", () => {
    expect(lacking(NO_CONSENT)).toHaveLength(3);
    expect(lacking({ ...GIVEN, speaker: " " })[0]).toContain("whose voice");
    expect(lacking({ ...GIVEN, statement: "yes   do  it" })[0]).toContain("speaker says");
    expect(lacking({ ...GIVEN, given: false })[0]).toContain("not confirmed");
  });
});
