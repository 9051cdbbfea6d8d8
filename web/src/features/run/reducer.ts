/** One pure reducer per open run: the event stream and the polling fallback both go through it. */
import type { Schemas } from "../../lib/api";

export type StoredEvent = Schemas["StoredEvent"];
type Body = StoredEvent["body"];
type Of<T extends Body["type"]> = Extract<Body, { type: T }>;

export type Heard = "connecting" | "live" | "reconnecting" | "polling" | "offline";

export interface Curve {
  /** Growing columns, newest generation per step: handed to the chart without a copy. */
  steps: number[];
  loss: number[];
  learningRate: number[];
  gradientNorm: number[];
}

export interface RunLive {
  lastId: number;
  state: string | null;
  reason: string;
  metrics: Of<"metrics"> | null;
  curve: Curve;
  resumes: number[];
  evals: Of<"eval">[];
  samples: Of<"sample">[];
  checkpoints: Of<"checkpoint">[];
  budget: Of<"budget"> | null;
  current: Of<"current_sample"> | null;
  setup: Record<string, Of<"setup">>;
  logs: { id: number; at: string; severity: string; message: string }[];
  probe: Of<"probe">["result"] | null;
  failure: Of<"worker"> | null;
  generation: number;
}

export const KEEP_LOGS = 500;
export const MAX_POINTS = 4000;

export function emptyRun(): RunLive {
  return {
    lastId: 0, state: null, reason: "", metrics: null, curve: emptyCurve(), resumes: [], evals: [], samples: [], checkpoints: [],
    budget: null, current: null, setup: {}, logs: [], probe: null, failure: null, generation: 0,
  };
}

export function emptyCurve(): Curve {
  return { steps: [], loss: [], learningRate: [], gradientNorm: [] };
}

/** Folds events into the run. Events already seen (by id) change nothing, so that a replay after a reconnect is harmless. */
export function reduce(run: RunLive, events: StoredEvent[]): RunLive {
  const fresh = events.filter((event) => event.id > run.lastId);
  if (fresh.length === 0) return run;
  const next: RunLive = { ...run, curve: { ...run.curve } };
  for (const event of fresh) {
    next.lastId = Math.max(next.lastId, event.id);
    apply(next, event);
  }
  return next;
}

function apply(run: RunLive, event: StoredEvent): void {
  const body = event.body;
  switch (body.type) {
    case "metrics":
      if (run.generation && event.generation > run.generation) run.resumes = [...run.resumes, body.step];
      run.generation = Math.max(run.generation, event.generation);
      run.metrics = body;
      run.curve = addPoint(run.curve, body);
      break;
    case "state":
      run.state = body.state;
      run.reason = body.reason ?? "";
      if (body.state !== "failed") run.failure = null;
      break;
    case "budget":
      run.budget = body;
      break;
    case "setup":
      run.setup = { ...run.setup, [body.stage]: body };
      break;
    case "eval":
      run.evals = [...run.evals, body];
      break;
    case "sample":
      run.samples = [...run.samples, body];
      break;
    case "checkpoint":
      run.checkpoints = [...run.checkpoints.filter((known) => known.checkpointId !== body.checkpointId), body];
      break;
    case "current_sample":
      run.current = body;
      break;
    case "probe":
      run.probe = body.result;
      break;
    case "worker":
      if (body.state === "failed") run.failure = body;
      break;
    case "log":
      run.logs = [...run.logs, { id: event.id, at: event.at, severity: body.severity ?? "info", message: body.message }].slice(-KEEP_LOGS);
      break;
  }
}

/** A step that was trained again (after a rollback or a crash) replaces the old tail: the newest generation is the truth. */
export function addPoint(curve: Curve, point: { step: number; loss: number; learningRate: number; gradientNorm: number }): Curve {
  const { steps, loss, learningRate, gradientNorm } = curve;
  while (steps.length && (steps[steps.length - 1] ?? 0) >= point.step) {
    for (const column of [steps, loss, learningRate, gradientNorm]) column.pop();
  }
  steps.push(point.step);
  loss.push(point.loss);
  learningRate.push(point.learningRate);
  gradientNorm.push(point.gradientNorm);
  if (steps.length > 2 * MAX_POINTS) return thin(curve);
  return { steps, loss, learningRate, gradientNorm };
}

/** Keeps the extremes of each bucket, so that a spike never disappears. */
export function thin(curve: Curve, points = MAX_POINTS): Curve {
  const size = Math.ceil(curve.steps.length / (points / 2));
  const keep: number[] = [];
  for (let start = 0; start < curve.steps.length; start += size) {
    let low = start;
    let high = start;
    for (let at = start; at < Math.min(start + size, curve.steps.length); at += 1) {
      if ((curve.loss[at] ?? 0) < (curve.loss[low] ?? 0)) low = at;
      if ((curve.loss[at] ?? 0) > (curve.loss[high] ?? 0)) high = at;
    }
    keep.push(...(low === high ? [low] : low < high ? [low, high] : [high, low]));
  }
  const pick = (column: number[]): number[] => keep.map((at) => column[at] ?? Number.NaN);
  return { steps: pick(curve.steps), loss: pick(curve.loss), learningRate: pick(curve.learningRate), gradientNorm: pick(curve.gradientNorm) };
}

/** One sentence on how the loss moves: the verdict above the chart. */
export function verdict(curve: Curve): string {
  const { loss } = curve;
  if (loss.length < 6) return "Too early to say";
  const tail = Math.max(3, Math.floor(loss.length / 5));
  const mean = (values: number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
  const [before, now] = [mean(loss.slice(-2 * tail, -tail)), mean(loss.slice(-tail))];
  const change = (now - before) / Math.max(Math.abs(before), 1e-9);
  if (!Number.isFinite(now)) return "The loss is not a number";
  if (change < -0.005) return "Loss is still falling";
  if (change > 0.02) return "Loss is rising";
  return "Loss has levelled off";
}
