import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";

const css = readFileSync("src/ui/tokens.css", "utf8");
const token = (name: string): string => new RegExp(`--color-${name}: (#[0-9a-f]{6});`).exec(css)?.[1] ?? "";

function luminance(hex: string): number {
  const [r = 0, g = 0, b = 0] = [1, 3, 5].map((at) => {
    const value = Number.parseInt(hex.slice(at, at + 2), 16) / 255;
    return value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

function contrast(a: string, b: string): number {
  const [high = 0, low = 0] = [luminance(a), luminance(b)].sort((x, y) => y - x);
  return (high + 0.05) / (low + 0.05);
}

const GROUNDS = ["ink-950", "ink-900", "ink-850", "ink-800"];

describe("design tokens", () => {
  it.each(["hi", "mid", "low", "signal", "hold", "fault", "info"])("%s is readable on every ground", (name) => {
    for (const ground of GROUNDS) expect(contrast(token(name), token(ground))).toBeGreaterThanOrEqual(4.5);
  });
  it("control borders stand out", () => {
    for (const ground of GROUNDS) expect(contrast(token("line"), token(ground))).toBeGreaterThanOrEqual(3);
  });
  it.each(["signal", "hold", "fault", "info"])("dark text on a %s button is readable", (name) => {
    expect(contrast(token("ink-950"), token(name))).toBeGreaterThanOrEqual(4.5);
  });
});
