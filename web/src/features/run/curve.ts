/** The curves of a run: growing columns, the newest generation per step, handed to the charts without a copy. */

export interface Point {
  stage: number;
  step: number;
  totalSteps: number;
  loss: number;
  learningRate: number;
  gradientNorm: number;
  cpuUtilization?: number | null;
  ramUsedGb?: number | null;
  gpuUtilization?: number[];
}

export interface Curve {
  /** Steps over the whole run: those of earlier stages come first. */
  steps: number[];
  loss: (number | null)[];
  learningRate: number[];
  gradientNorm: (number | null)[];
  cpu: (number | null)[];
  ram: (number | null)[];
  gpu: (number | null)[];
  /** Steps per stage, as far as known. */
  stageSteps: number[];
}

export const MAX_POINTS = 4000;
const COLUMNS = ["steps", "loss", "learningRate", "gradientNorm", "cpu", "ram", "gpu"] as const;

export function emptyCurve(): Curve {
  return { steps: [], loss: [], learningRate: [], gradientNorm: [], cpu: [], ram: [], gpu: [], stageSteps: [] };
}

/** Where a step of a stage lies on the curve. */
export function place(curve: Pick<Curve, "stageSteps">, stage: number, step: number): number {
  return curve.stageSteps.slice(0, stage).reduce((sum, steps) => sum + (steps ?? 0), step);
}

/** A step that was trained again (after a rollback or a crash) replaces the old tail: the newest generation is the truth. */
export function addPoint(curve: Curve, point: Point): Curve {
  curve.stageSteps[point.stage] = point.totalSteps;
  const at = place(curve, point.stage, point.step);
  while (curve.steps.length && (curve.steps[curve.steps.length - 1] ?? 0) >= at) {
    for (const name of COLUMNS) curve[name].pop();
  }
  curve.steps.push(at);
  curve.loss.push(finite(point.loss));
  curve.learningRate.push(point.learningRate);
  curve.gradientNorm.push(finite(point.gradientNorm));
  curve.cpu.push(finite(point.cpuUtilization));
  curve.ram.push(finite(point.ramUsedGb));
  const gpus = point.gpuUtilization ?? [];
  curve.gpu.push(gpus.length ? gpus.reduce((sum, value) => sum + value, 0) / gpus.length : null);
  return curve.steps.length > 2 * MAX_POINTS ? thin(curve) : { ...curve };
}

function finite(value: number | null | undefined): number | null {
  return value != null && Number.isFinite(value) ? value : null;
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
  const next = emptyCurve();
  next.stageSteps = curve.stageSteps;
  for (const name of COLUMNS) (next[name] as (number | null)[]) = keep.map((at) => curve[name][at] ?? null);
  return next;
}

/** Adds points that an earlier thinning left out: what is there already stays, in order of training. */
export function merge(curve: Curve, points: Point[]): Curve {
  const known = new Set(curve.steps);
  const fresh = points.filter((point) => !known.has(place(curve, point.stage, point.step)));
  if (!fresh.length) return curve;
  const extra = fresh.reduce(addPoint, { ...emptyCurve(), stageSteps: [...curve.stageSteps] });
  const both = COLUMNS.map((name) => [...curve[name], ...extra[name]]);
  const steps = [...curve.steps, ...extra.steps];
  const order = steps.map((_step, at) => at).sort((a, b) => (steps[a] ?? 0) - (steps[b] ?? 0));
  const next = { ...emptyCurve(), stageSteps: curve.stageSteps };
  COLUMNS.forEach((name, column) => {
    (next[name] as (number | null)[]) = order.map((at) => both[column]?.[at] ?? null);
  });
  return next;
}

/** The stage that a place of the curve lies in, and how many steps lie before that stage. */
export function stageAt(curve: Pick<Curve, "stageSteps">, at: number): { stage: number; before: number } {
  let before = 0;
  for (let stage = 0; stage < curve.stageSteps.length - 1; stage += 1) {
    const steps = curve.stageSteps[stage] ?? 0;
    if (at <= before + steps) return { stage, before };
    before += steps;
  }
  return { stage: Math.max(0, curve.stageSteps.length - 1), before };
}

/** One sentence on how the loss moves: the verdict above the chart. */
export function verdict(curve: Curve): string {
  if (curve.loss.at(-1) === null) return "The loss is not a number";
  const loss = curve.loss.filter((value): value is number => value !== null);
  if (loss.length < 6) return "Too early to say";
  const tail = Math.max(3, Math.floor(loss.length / 5));
  const mean = (values: number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
  const [before, now] = [mean(loss.slice(-2 * tail, -tail)), mean(loss.slice(-tail))];
  const change = (now - before) / Math.max(Math.abs(before), 1e-9);
  if (change < -0.005) return "Loss is still falling";
  if (change > 0.02) return "Loss is rising";
  return "Loss has levelled off";
}
