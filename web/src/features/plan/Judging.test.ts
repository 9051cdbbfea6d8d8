import { describe, expect, it } from "vitest";
import { changedOf, takenBy, typedOf } from "./Judging";

const OWN = typedOf({ judge: null, principles: [], rollouts: "transformers" });
const JUDGE = { model: "rule", url: "http://127.0.0.1:8000/v1", keyEnv: null, maxTokens: 256, inputUsdPerMillion: 0.5, outputUsdPerMillion: 1.5, priceSource: "as you said" };

describe("who judges", () => {
  it("is told only where something was changed", () => {
    expect(changedOf(OWN, OWN)).toEqual({});
    expect(changedOf(OWN, { ...OWN, lines: "Be kind.\nharmless" })).toEqual({ principles: ["Be kind.", "harmless"] });
    expect(changedOf(OWN, { ...OWN, rollouts: "vllm" })).toEqual({ rollouts: "vllm" });
  });
  it("is a model with its address, without what was left empty; or the model itself", () => {
    const typed = { ...OWN, who: "endpoint" as const, model: " rule ", url: "http://127.0.0.1:8000/v1" };
    expect(changedOf(OWN, typed)).toEqual({ judge: { model: "rule", url: "http://127.0.0.1:8000/v1" } });
    expect(changedOf(typed, { ...typed, who: "own" })).toEqual({ judge: null });
  });
  it("shows a price that a person gave, and leaves the catalogue's to it", () => {
    expect(typedOf({ judge: JUDGE, principles: [], rollouts: "transformers" }).outputUsdPerMillion).toBe("1.5");
    expect(typedOf({ judge: { ...JUDGE, priceSource: "listed" }, principles: [], rollouts: "transformers" }).inputUsdPerMillion).toBe("");
  });
  it("is asked for only where the method has a use for it", () => {
    expect(takenBy({ takes: ["rollouts"] })).toEqual(["rollouts"]);
    expect(takenBy({})).toEqual([]);
  });
});
