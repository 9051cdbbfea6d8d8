/**
 * Follows a run: server-sent events from a cursor, and polling of the same messages where a stream cannot be held.
 * Both deliver through `onMessages`; the cursor makes repetitions harmless.
 */
import { API, type Schemas } from "./api";

export type Message = Schemas["StreamMessage"];
export type How = "connecting" | "live" | "reconnecting" | "polling" | "offline" | "asleep";

export interface Follower {
  onMessages: (messages: Message[]) => void;
  onHow: (how: How) => void;
}

export interface Timing {
  retryMs: number;
  pollMs: number;
  silentMs: number;
  asleepMs: number;
}

const TIMING: Timing = { retryMs: 1000, pollMs: 2000, silentMs: 20_000, asleepMs: 20_000 };
const TRIES_BEFORE_POLLING = 2;
const STREAM_RETRY_MS = 15_000;

export class RunFollower {
  private source: EventSource | undefined;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private watchdog: ReturnType<typeof setInterval> | undefined;
  private sleeper: ReturnType<typeof setTimeout> | undefined;
  private failures = 0;
  private heardAt = Date.now();
  private pollingSince = 0;
  private ended = false;

  constructor(
    private readonly jobId: string, private cursor: number, private readonly follower: Follower, private readonly timing = TIMING,
  ) {}

  start(): void {
    document.addEventListener("visibilitychange", this.onVisibility);
    window.addEventListener("online", this.wake);
    this.watchdog = setInterval(() => this.check(), this.timing.silentMs / 4);
    this.open();
  }

  stop(): void {
    this.ended = true;
    document.removeEventListener("visibilitychange", this.onVisibility);
    window.removeEventListener("online", this.wake);
    clearInterval(this.watchdog);
    clearTimeout(this.sleeper);
    this.quiet();
  }

  /** Tries the stream at once, for instance after the person asked. */
  readonly wake = (): void => {
    this.quiet();
    this.failures = 0;
    this.open();
  };

  private quiet(): void {
    clearTimeout(this.timer);
    this.source?.close();
    this.source = undefined;
  }

  private readonly onVisibility = (): void => {
    clearTimeout(this.sleeper);
    if (document.hidden) {
      // A browser allows six connections per server: tabs that nobody looks at give theirs back.
      this.sleeper = setTimeout(() => {
        this.quiet();
        this.follower.onHow("asleep");
      }, this.timing.asleepMs);
    } else if (!this.source) this.wake();
  };

  private open(): void {
    if (this.ended) return;
    this.follower.onHow(this.failures ? "reconnecting" : "connecting");
    const source = new EventSource(`${API}/jobs/${this.jobId}/stream?after=${this.cursor}`);
    this.source = source;
    source.onopen = () => {
      this.failures = 0;
      this.heardAt = Date.now();
      this.follower.onHow("live");
    };
    source.onmessage = (event: MessageEvent<string>) => this.take([JSON.parse(event.data) as Message]);
    source.onerror = () => {
      if (this.source !== source) return;
      this.quiet();
      this.failures += 1;
      if (this.failures > TRIES_BEFORE_POLLING) {
        this.pollingSince = Date.now();
        void this.poll();
        return;
      }
      this.follower.onHow("reconnecting");
      this.timer = setTimeout(() => this.open(), this.timing.retryMs * this.failures);
    };
  }

  private take(messages: Message[]): void {
    this.heardAt = Date.now();
    const fresh = messages.filter((message) => message.id > this.cursor);
    if (!fresh.length) return;
    this.cursor = Math.max(...fresh.map((message) => message.id));
    this.follower.onMessages(fresh);
  }

  private async page(): Promise<Message[]> {
    const answer = await fetch(`${API}/jobs/${this.jobId}/events?after=${this.cursor}&limit=500`, { headers: { Accept: "application/json" } });
    if (!answer.ok) throw new Error(String(answer.status));
    return ((await answer.json()) as { messages: Message[] }).messages;
  }

  private async poll(): Promise<void> {
    if (this.ended || this.source) return;
    try {
      const messages = await this.page();
      if (this.ended || this.source) return;
      this.follower.onHow("polling");
      this.take(messages);
      if (Date.now() - this.pollingSince > STREAM_RETRY_MS) {
        this.wake();
        return;
      }
    } catch {
      if (this.ended || this.source) return;
      this.follower.onHow("offline");
      // The server is away altogether: the stream is tried again as soon as a request gets through.
      this.pollingSince = 0;
    }
    this.timer = setTimeout(() => void this.poll(), this.timing.pollMs);
  }

  /** A stream that is open but silent may be dead: a request tells. */
  private check(): void {
    if (!this.source || this.source.readyState !== EventSource.OPEN || Date.now() - this.heardAt < this.timing.silentMs) return;
    const source = this.source;
    this.page().then(
      (messages) => {
        if (this.source !== source) return;
        this.heardAt = Date.now();
        if (messages.some((message) => message.id > this.cursor)) {
          this.take(messages);
          this.wake();
        }
      },
      () => {
        if (this.source === source) this.wake();
      },
    );
  }
}
