import { cleanup, render, screen } from "@testing-library/react";
import { afterEach, describe, expect, it } from "vitest";

import type { Schemas } from "../../lib/api";
import { Probe } from "./Setup";

afterEach(cleanup);

const MEASURED: Schemas["ProbeResult"] = {
  secondsPerStep: 1.2, stepSecondsSpread: 0.08, tokensPerSecond: 2140, peakMemoryGb: 1.42, copyGb: 0, loadS: 1, evalS: 1, sampleS: 1, checkpointS: 0.2,
  checkpointBytes: 19_800_000, totalSteps: [40], lossFirst: 3.41, lossLast: 2.1, learns: true, fitted: "rows", fittedRows: 8, fittedUpdates: 6,
  movedFraction: 1, supervisedFraction: 0.46, supervisedRows: 1, eosSupervised: true, tried: [], chosen: {},
};

const shown = (more: Partial<typeof MEASURED>) => {
  render(<Probe probe={{ ...MEASURED, ...more }} expected={1} />);
  return screen.getByRole("group").textContent ?? "";
};

describe("what the smoke test measured", () => {
  it("says what came of repeating a few rows", () => {
    const text = shown({});
    expect(text).toContain("Loss on 8 rows3.41 to 2.1 in 6 updates");
    expect(text).toContain("Tokens that teach46 %");
    expect(text).toContain("End of a turnlearnt");
    expect(text).not.toContain("not learnt");
  });

  it("says plainly where the end of a turn is not learnt", () => {
    expect(shown({ eosSupervised: false })).toContain("Ends of turns are not learnt");
  });

  it("has nothing to say about tokens of pictures", () => {
    const text = shown({ supervisedFraction: null, supervisedRows: null, eosSupervised: null });
    expect(text).not.toContain("teach");
    expect(text).not.toContain("End of a turn");
  });

  it("shows a loss that became no number", () => {
    expect(shown({ lossLast: null, learns: false, movedFraction: 0.004 })).toContain("3.41 to no number in 6 updates");
    expect(screen.getByText("0.40 %")).toBeTruthy();
    expect(screen.getByText("It does not learn")).toBeTruthy();
  });
});
