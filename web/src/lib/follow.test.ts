import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { type How, type Message, RunFollower } from "./follow";

class FakeSource {
  static made: FakeSource[] = [];
  static OPEN = 1;
  readyState = 0;
  onopen: (() => void) | undefined;
  onmessage: ((event: { data: string }) => void) | undefined;
  onerror: (() => void) | undefined;
  constructor(readonly url: string) {
    FakeSource.made.push(this);
  }
  open(): void {
    this.readyState = 1;
    this.onopen?.();
  }
  say(id: number): void {
    this.onmessage?.({ data: JSON.stringify({ id }) });
  }
  close(): void {
    this.readyState = 2;
  }
}

const last = (): FakeSource => FakeSource.made.at(-1) as FakeSource;
const answer = (ids: number[]) => ({ ok: true, json: () => Promise.resolve({ messages: ids.map((id) => ({ id })) }) });

describe("following a run", () => {
  let got: number[];
  let how: How[];
  let run: RunFollower;
  beforeEach(() => {
    vi.useFakeTimers();
    FakeSource.made = [];
    vi.stubGlobal("EventSource", FakeSource);
    [got, how] = [[], []];
    run = new RunFollower("j", 7, { onMessages: (messages: Message[]) => got.push(...messages.map((message) => message.id)), onHow: (value) => how.push(value) });
    run.start();
  });
  afterEach(() => {
    run.stop();
    vi.useRealTimers();
    vi.unstubAllGlobals();
  });

  it("goes on from its cursor after a drop, without repeating anything", async () => {
    expect(last().url).toContain("after=7");
    last().open();
    last().say(8);
    last().say(9);
    last().say(9);
    last().onerror?.();
    expect(how.at(-1)).toBe("reconnecting");
    await vi.advanceTimersByTimeAsync(1000);
    expect(last().url).toContain("after=9");
    last().open();
    last().say(10);
    expect(got).toEqual([8, 9, 10]);
    expect(how.at(-1)).toBe("live");
  });

  it("asks for pages when no stream can be held, and returns to the stream", async () => {
    vi.stubGlobal("fetch", vi.fn(() => Promise.resolve(answer([8, 9]))));
    for (let tries = 0; tries < 3; tries += 1) {
      last().onerror?.();
      await vi.advanceTimersByTimeAsync(3000);
    }
    expect(how).toContain("polling");
    expect(got).toEqual([8, 9]);
    const before = FakeSource.made.length;
    await vi.advanceTimersByTimeAsync(20_000);
    expect(FakeSource.made.length).toBeGreaterThan(before);
  });

  it("says when the server is away, and comes back", async () => {
    const fetch = vi.fn(() => Promise.reject(new Error("away")));
    vi.stubGlobal("fetch", fetch);
    for (let tries = 0; tries < 3; tries += 1) {
      last().onerror?.();
      await vi.advanceTimersByTimeAsync(3000);
    }
    expect(how.at(-1)).toBe("offline");
    fetch.mockImplementation(() => Promise.resolve(answer([8])) as never);
    await vi.advanceTimersByTimeAsync(2100);
    expect(got).toEqual([8]);
    last().open();
    expect(how.at(-1)).toBe("live");
  });

  it("notices a stream that is open but dead", async () => {
    vi.stubGlobal("fetch", vi.fn(() => Promise.resolve(answer([8]))));
    last().open();
    const before = FakeSource.made.length;
    await vi.advanceTimersByTimeAsync(26_000);
    expect(got).toEqual([8]);
    expect(FakeSource.made.length).toBe(before + 1);
  });
});
