import { describe, expect, it } from "vitest";
import { type Choice, predicted, problem } from "./choice";

const offers = {
  forms: [
    { form: "merged" as const, bytes: 400, byType: {} }, { form: "adapter" as const, bytes: 10, byType: {} },
    { form: "gguf" as const, bytes: 200, byType: { f16: 200, q8_0: 106 } }, { form: "ollama" as const, bytes: 200, byType: { f16: 200, q8_0: 106 } },
  ],
  freeBytes: 500, hubReady: true,
};
const choice: Choice = { forms: ["merged"], type: "f16", push: false, repoId: "", isPrivate: true };

describe("what an export will take", () => {
  it("adds the forms, and counts the one GGUF file once", () => {
    expect(predicted({ ...choice, forms: ["merged", "adapter"] }, offers.forms)).toBe(410);
    expect(predicted({ ...choice, forms: ["gguf", "ollama"], type: "q8_0" }, offers.forms)).toBe(106);
  });
  it("says that it does not know rather than guess", () => {
    expect(predicted({ ...choice, forms: ["gguf"], type: "bf16" }, offers.forms)).toBeNull();
  });
  it("names what is in the way", () => {
    expect(problem(choice, offers)).toBeNull();
    expect(problem({ ...choice, forms: [] }, offers)).toMatch(/at least one/);
    expect(problem({ ...choice, forms: ["merged", "gguf"] }, offers)).toMatch(/disk space/);
    for (const repoId of ["", "bot", "a/b/c", "../x", "a/-", "a b/c"]) expect(problem({ ...choice, push: true, repoId }, offers)).toMatch(/owner\/name/);
    expect(problem({ ...choice, push: true, repoId: "someone/support-bot" }, offers)).toBeNull();
  });
});
