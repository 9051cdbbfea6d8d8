/** The run on this page: seeded once, then fed by its follower. React is told at most four times a second. */
import { useEffect, useState, useSyncExternalStore } from "react";
import { api, call, type Problem, toProblem } from "../../lib/api";
import { type How, type Message, RunFollower } from "../../lib/follow";
import { merge, stageAt } from "./curve";
import { reduce, type RunLive, seed } from "./reducer";

const TELL_MS = 250;

export interface Snapshot {
  run: RunLive | null;
  how: How;
  /** When something was last heard of the server, by this machine's clock. */
  heardAt: number;
  problem: Problem | null;
}

export class RunStore {
  private snapshot: Snapshot = { run: null, how: "connecting", heardAt: Date.now(), problem: null };
  private pending: Partial<Snapshot> = {};
  private readonly listeners = new Set<() => void>();
  private follower: RunFollower | undefined;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private ended = false;

  constructor(readonly jobId: string) {}

  async start(): Promise<void> {
    this.ended = false;
    try {
      const path = { params: { path: { job_id: this.jobId } } };
      const job = await call(api.GET("/api/training/jobs/{job_id}", path));
      const [history, logs] = await Promise.all([
        call(api.GET("/api/training/jobs/{job_id}/metrics", path)),
        call(api.GET("/api/training/jobs/{job_id}/logs", { params: { ...path.params, query: { severity: "debug", limit: 300 } } })),
      ]);
      if (this.ended) return;
      const run = seed(job, history, logs.logs);
      this.tell({ run, problem: null, heardAt: Date.now() }, true);
      this.follower = new RunFollower(this.jobId, run.lastId, { onMessages: this.take, onHow: this.hear });
      this.follower.start();
    } catch (error) {
      this.tell({ problem: toProblem(error), how: "offline" }, true);
    }
  }

  stop(): void {
    this.ended = true;
    this.follower?.stop();
    clearTimeout(this.timer);
  }

  readonly retry = (): void => {
    if (this.follower) this.follower.wake();
    else void this.start();
  };

  /** Fetches the points between two places of the curve that the thinned history left out. Rejects with an ApiError. */
  readonly look = async (from: number, to: number): Promise<void> => {
    const curve = this.snapshot.run?.curve;
    if (!curve) return;
    const [first, last] = [stageAt(curve, from), stageAt(curve, to)];
    if (first.stage !== last.stage) return;
    const query = { fromStep: Math.max(0, Math.floor(from - first.before)), toStep: Math.ceil(to - first.before) };
    const found = await call(api.GET("/api/training/jobs/{job_id}/metrics", { params: { path: { job_id: this.jobId }, query } }));
    const run = this.pending.run ?? this.snapshot.run;
    const points = found.points.filter((point) => point.stage === first.stage);
    if (run && !this.ended) this.tell({ run: { ...run, curve: merge(run.curve, points) } }, true);
  };

  readonly subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  readonly read = (): Snapshot => this.snapshot;

  private readonly take = (messages: Message[]): void => {
    const before = this.pending.run ?? this.snapshot.run;
    if (before) this.tell({ run: reduce(before, messages), heardAt: Date.now() });
  };

  private readonly hear = (how: How): void => {
    const heard = how === "live" || how === "polling" ? { heardAt: Date.now() } : {};
    this.tell({ how, ...heard }, how !== this.snapshot.how);
  };

  private tell(change: Partial<Snapshot>, now = false): void {
    this.pending = { ...this.pending, ...change };
    const flush = (): void => {
      this.timer = undefined;
      this.snapshot = { ...this.snapshot, ...this.pending };
      this.pending = {};
      this.listeners.forEach((listener) => listener());
    };
    if (now) {
      clearTimeout(this.timer);
      flush();
    } else this.timer ??= setTimeout(flush, TELL_MS);
  }
}

export function useRun(jobId: string): Snapshot & Pick<RunStore, "retry" | "look"> {
  const [store, setStore] = useState(() => new RunStore(jobId));
  if (store.jobId !== jobId) setStore(new RunStore(jobId));
  useEffect(() => {
    const mine = store;
    void mine.start();
    return () => mine.stop();
  }, [store]);
  return { ...useSyncExternalStore(store.subscribe, store.read), retry: store.retry, look: store.look };
}
