import { cleanup, render, screen } from "@testing-library/react";
import { afterEach, describe, expect, it } from "vitest";
import { ExpertUse } from "./ExpertUse";
import { busiest, expertsOf } from "./experts";

afterEach(cleanup);

const told = { balance: 1.02, expert_0_low_noise: 0.6, expert_1_low_noise: 0.4, expert_0_high_noise: 0.1, expert_1_high_noise: 0.9, reward: 3 };

describe("the use of experts", () => {
  it("is read from a worker's own numbers, and only from those", () => {
    expect(expertsOf(told)).toEqual({ low: [0.6, 0.4], high: [0.1, 0.9], balance: 1.02 });
    expect(expertsOf({ reward: 3, balance: 1 })).toBeNull();
    expect(expertsOf(undefined)).toBeNull();
    expect(busiest({ low: [], high: [0.1, 0.9], balance: null })).toBe("High noise goes most to expert 2 (90 %)");
  });

  it("is a picture with its numbers, and says them to who does not see it", () => {
    render(<ExpertUse experts={expertsOf(told)} />);
    expect(screen.getByText(/Low noise goes most to expert 1 \(60 %\), high noise to expert 2 \(90 %\)\. Even use is 50 % each, a balance of 1; now it is 1\.02\./)).toBeTruthy();
    const high = screen.getByRole("img", { name: "Shares at high noise: expert 1 10 %, expert 2 90 %" });
    const light = [...high.querySelectorAll("rect")].map((cell) => Number(cell.getAttribute("fill-opacity")));
    expect(light[1]).toBeGreaterThan((light[0] ?? 1) * 8);
    expect([...high.querySelectorAll("text")].map((one) => one.textContent)).toEqual(["10", "90"]);
  });

  it("leaves numbers out of cells too narrow for them, and says what is not there yet", () => {
    const low = Array.from({ length: 40 }, () => 1 / 40);
    const { container } = render(<ExpertUse experts={{ low, high: [], balance: null }} />);
    expect(container.querySelectorAll("rect")).toHaveLength(40);
    expect(container.querySelectorAll("svg text")).toHaveLength(0);
    expect(screen.getByText("None met yet")).toBeTruthy();
    cleanup();
    render(<ExpertUse experts={null} />);
    expect(screen.getByText(/appears here with the first update/)).toBeTruthy();
  });
});
