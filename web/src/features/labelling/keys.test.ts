import { describe, expect, it } from "vitest";
import { said } from "./keys";

describe("keys of the labelling page", () => {
  it.each([["ArrowLeft", "a"], ["1", "a"], ["A", "a"], ["ArrowRight", "b"], ["2", "b"], ["t", "tie"], ["ArrowDown", "tie"], ["s", "skip"]])("%s says %s", (key, better) => {
    expect(said(key)).toBe(better);
  });
  it.each(["Tab", "Enter", "Escape", "x", "ArrowUp"])("%s says nothing", (key) => {
    expect(said(key)).toBeNull();
  });
});
