import { cleanup, fireEvent, render, screen } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { useState } from "react";
import { afterEach, describe, expect, it } from "vitest";
import { type Authorization, Authorize, problems, sliderRange } from "./Authorize";

const base: Authorization = { maxBudget: 2, notifyAtPercent: 80, freezeAtPercent: 95, notificationChannels: ["in_app"], termsAccepted: false };

afterEach(cleanup);

function Page() {
  const [value, setValue] = useState(base);
  const [on, setOn] = useState(false);
  return <Authorize value={value} onChange={setValue} expected={{ min: 1, max: 3, likely: 2, currency: "USD", source: "analytic" }} authorized={on} onAuthorize={setOn} />;
}

describe("the budget tile", () => {
  it("names what would be refused", () => {
    expect(problems(base)).toEqual({});
    expect(problems({ ...base, notifyAtPercent: 95 })).toHaveProperty("alert");
    expect(problems({ ...base, freezeAtPercent: 101 })).toHaveProperty("freeze");
    expect(problems({ ...base, maxBudget: Number.NaN })).toHaveProperty("budget");
  });
  it("gives the slider room above what is expected", () => {
    expect(sliderRange(0.08, 1).max).toBeGreaterThan(1);
    expect(sliderRange(5000, 8000).max).toBeGreaterThanOrEqual(15_000);
  });
  it("authorizes only after the terms, and locks the figures", async () => {
    render(<Page />);
    const button = screen.getByRole<HTMLButtonElement>("button", { name: "Authorize Charges" });
    expect(button.disabled).toBe(true);
    await userEvent.click(screen.getByRole("checkbox", { name: /I accept/ }));
    fireEvent.change(screen.getByLabelText("Alert at"), { target: { value: "96" } });
    expect(button.disabled).toBe(true);
    expect(screen.getByText("The alert must come before the freeze.")).toBeTruthy();
    fireEvent.change(screen.getByLabelText("Alert at"), { target: { value: "70" } });
    await userEvent.click(button);
    expect(screen.getByText(/Charges up to \$2.00 authorized/)).toBeTruthy();
    expect(screen.getByLabelText<HTMLInputElement>("Exact limit").closest("fieldset")?.disabled).toBe(true);
  });
});
