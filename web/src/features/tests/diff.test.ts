import { describe, expect, it } from "vitest";
import { diffWords } from "./diff";

const own = (pieces: { text: string; own: boolean }[]) => pieces.filter((piece) => piece.own).map((piece) => piece.text).join("|");

describe("diffWords", () => {
  it("gives both texts back whole", () => {
    const [a, b] = ["the cat sat  down", "a cat\nsat up"];
    const [left, right] = diffWords(a, b);
    expect(left.map((piece) => piece.text).join("")).toBe(a);
    expect(right.map((piece) => piece.text).join("")).toBe(b);
  });
  it("marks only what is not shared", () => {
    const [left, right] = diffWords("open the settings page", "open the billing page");
    expect([own(left), own(right)]).toEqual(["settings", "billing"]);
    expect(own(diffWords("same", "same")[0])).toBe("");
    expect(own(diffWords("", "new")[1])).toBe("new");
  });
});
