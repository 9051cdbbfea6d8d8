import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { cleanup, render, screen, waitFor, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

type Sent = { method: string; path: string; body: unknown };

/** The client takes hold of `fetch` and `Request` when it is loaded; Node's `Request` knows no page that a path belongs to. */
const server = vi.hoisted(() => {
  const held = { answer: (sent: Sent): unknown => sent, sent: [] as Sent[] };
  const Whole = globalThis.Request;
  globalThis.Request = class extends Whole {
    constructor(input: RequestInfo | URL, init?: RequestInit) {
      super(typeof input === "string" ? new URL(input, "http://page") : input, init);
    }
  };
  globalThis.fetch = async (input) => {
    const request = input as Request;
    const sent = { method: request.method, path: new URL(request.url).pathname, body: request.method === "GET" ? null : await request.json().catch(() => null) };
    held.sent.push(sent);
    const said = await held.answer(sent);
    return said instanceof Response ? said : Response.json(said);
  };
  return held;
});

import type { Transcript } from "./clips";
import type { Dataset } from "./client";
import { Words } from "./Words";

const HOME = "/api/training/data/d1/transcripts";
let held: Record<string, Transcript>;

const told = (more: Partial<Transcript>): Transcript => ({ text: "good day", by: "a model", edited: false, checked: false, sure: 0.9, name: "a.wav", start: 0, seconds: 2, ...more });

function asServer({ method, path, body }: Sent): unknown {
  if (method === "GET") return { transcripts: held, writing: false };
  const [clip, edit] = [path.slice(HOME.length + 1), body as { text: string | null; checked: boolean | null }];
  const before = held[clip] as Transcript;
  const changed = edit.text !== null && { text: edit.text, by: "you", edited: true, checked: true, sure: null };
  held[clip] = { ...before, ...changed, ...(edit.checked !== null && { checked: edit.checked }) };
  return held[clip];
}

function dataset(report: Partial<NonNullable<Dataset["report"]>>): Dataset {
  return { id: "d1", name: "voice.zip", report: { kind: "sounds", findings: [], speech: true, ...report } } as unknown as Dataset;
}

function open(data = dataset({}), onChange = vi.fn()) {
  render(<QueryClientProvider client={new QueryClient({ defaultOptions: { queries: { retry: false } } })}><Words data={data} onChange={onChange} /></QueryClientProvider>);
  return onChange;
}

const field = (name: RegExp) => screen.getByRole<HTMLTextAreaElement>("textbox", { name });
const patches = () => server.sent.filter((one) => one.method === "PATCH");

beforeEach(() => {
  held = { aa: told({}), bb: told({ name: "b.wav", sure: 0.5, text: "sixty" }), cc: told({ name: "c.wav", text: "" }) };
  server.sent.length = 0;
  server.answer = asServer;
});
afterEach(cleanup);

describe("the words of recordings", () => {
  it("are corrected with the keyboard alone, row by row", async () => {
    open();
    await userEvent.click(await screen.findByRole("textbox", { name: /a\.wav/ }));
    await userEvent.keyboard("{Enter}");
    expect(document.activeElement).toBe(field(/b\.wav/));
    await userEvent.clear(field(/b\.wav/));
    await userEvent.keyboard("sixteen");
    expect(screen.getByText("Not saved yet")).toBeTruthy();
    await userEvent.keyboard("{Enter}");
    expect(document.activeElement).toBe(field(/c\.wav/));
    await waitFor(() => expect(held.bb).toMatchObject({ text: "sixteen", by: "you" }));
    await userEvent.keyboard("no{Escape}");
    expect(field(/c\.wav/).value).toBe("");
    await userEvent.tab();
    expect(patches().map((one) => one.body)).toEqual([{ text: null, checked: true }, { text: "sixteen", checked: true }]);
    expect(patches().map((one) => one.path)).toEqual([`${HOME}/aa`, `${HOME}/bb`]);
    expect(await screen.findByText("Written by you")).toBeTruthy();
    expect(screen.getByText("Saved: b.wav, 2.0 s")).toBeTruthy();
  });

  it("are kept when their field is left, and told of where they are not", async () => {
    open();
    await userEvent.type(await screen.findByRole("textbox", { name: /b\.wav/ }), " four");
    server.answer = (sent) => (sent.method === "PATCH" ? Response.json({ code: "full", detail: "The disk is full." }, { status: 507 }) : asServer(sent));
    await userEvent.tab();
    const alert = await screen.findByRole("alert");
    expect(alert.textContent).toContain("The disk is full.");
    expect(field(/b\.wav/).value).toBe("sixty four");
    server.answer = asServer;
    await userEvent.click(within(alert).getByRole("button", { name: /Try again/ }));
    await waitFor(() => expect(held.bb?.text).toBe("sixty four"));
    expect(screen.queryByRole("alert")).toBeNull();
    expect(screen.getByText("Saved")).toBeTruthy();
  });

  it("stay in sight after they were mended under a filter", async () => {
    open();
    await userEvent.click(await screen.findByRole("button", { name: "Unsure 2" }));
    expect(screen.queryByRole("textbox", { name: /a\.wav/ })).toBeNull();
    await userEvent.click(screen.getByRole("checkbox", { name: /b\.wav/ }));
    expect(await screen.findByRole("button", { name: "Unsure 1" })).toBeTruthy();
    expect(field(/b\.wav/).value).toBe("sixty");
    await userEvent.click(screen.getByRole("button", { name: "Unsure 1" }));
    expect(screen.queryByRole("textbox", { name: /b\.wav/ })).toBeNull();
  });

  it("are examined again when that is asked for, not with every change", async () => {
    const onChange = open();
    await userEvent.click(await screen.findByRole("checkbox", { name: /a\.wav/ }));
    server.answer = (sent) => (sent.method === "POST" ? dataset({ usable: 2 }) : asServer(sent));
    await userEvent.click(await screen.findByRole("button", { name: "Examine again" }));
    await waitFor(() => expect(onChange).toHaveBeenCalledWith(dataset({ usable: 2 })));
    expect(screen.queryByRole("button", { name: "Examine again" })).toBeNull();
    expect(server.sent.filter((one) => one.method === "POST")).toHaveLength(1);
  });

  it("say why there are none, and what can be done", async () => {
    held = {};
    const finding = (code: string) => [{ code, severity: "info" as const, count: 3, sentence: "", examples: [], share: 1, fix: null, fixed: false }];
    open(dataset({ speech: false, findings: finding("sound_no_text") }));
    expect(await screen.findByRole("button", { name: "Write the words down" })).toBeTruthy();
    cleanup();
    open(dataset({ findings: finding("sound_no_words") }));
    expect(await screen.findByText(/no model that hears is at hand/)).toBeTruthy();
    cleanup();
    open(dataset({}));
    expect(await screen.findByText(/Every recording came with its words/)).toBeTruthy();
  });
});
