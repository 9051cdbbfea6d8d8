import { describe, expect, it } from "vitest";
import { ago, bytes, duration, money, range, signedMoney } from "./format";

describe("format", () => {
  it("shows money with as many places as needed", () => {
    expect([money(0.0312), money(3.1), money(1250), money(0), money(null)]).toEqual(["$0.0312", "$3.10", "$1,250", "$0.00", "–"]);
    expect([signedMoney(-2), signedMoney(0.5)]).toEqual(["−$2.00", "+$0.50"]);
  });
  it("shows durations in words", () => {
    expect([duration(48), duration(360), duration(4800), duration(7260), duration(300_000)]).toEqual([
      "48 s", "6 min", "80 min", "2 h 1 min", "3.5 d",
    ]);
    expect(ago("2026-01-01T00:00:00Z", Date.parse("2026-01-01T00:02:00Z"))).toBe("2 min ago");
  });
  it("shows sizes and ranges", () => {
    expect([bytes(12), bytes(269_000_000)]).toEqual(["12 B", "269 MB"]);
    expect(range(1, 1.001, (value) => value.toFixed(1))).toBe("1.0");
  });
});
