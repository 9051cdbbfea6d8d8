/** One pure reducer per open run: the event stream and the polling fallback both go through it. */
import type { Schemas } from "../../lib/api";
import { addPoint, type Curve, emptyCurve } from "./curve";
import { type Experts, expertsOf } from "./experts";

export type Message = Schemas["StreamMessage"];
type Body = Message["body"];
type Of<T extends Body["type"]> = Extract<Body, { type: T }>;

export interface LogLine {
  id: number;
  at: string;
  severity: string;
  message: string;
}

export interface RunLive {
  lastId: number;
  /** Time of the newest event, as the server stamped it. */
  at: string | null;
  state: Schemas["JobState"];
  reason: string;
  metrics: Of<"metrics"> | null;
  curve: Curve;
  /** Places on the curve (see `Curve.steps`) where a later generation took over. */
  resumes: number[];
  evals: Schemas["EvalResult"][];
  /** As the newest update that told of experts had it. */
  experts: Experts | null;
  samples: Schemas["QualitySample"][];
  alarms: Schemas["Alarm"][];
  checkpoints: (Schemas["CheckpointCommitted"] & { at?: string; kept?: boolean })[];
  budget: { currentSpend: number; maxBudget: number; estimatedTotalSpend: number; spendRate: number; percent: number; status: string };
  current: Schemas["CurrentSample"] | null;
  setup: Partial<Record<Schemas["SetupProgress"]["stage"], Schemas["SetupProgress"]>>;
  setupLogs: { stage: string; message: string }[];
  stages: Schemas["StageView"][];
  logs: LogLine[];
  probe: Schemas["ProbeResult"] | null;
  failure: Schemas["Failure"] | null;
  freeze: Schemas["FreezeState"] | null;
  result: Schemas["RunResult"] | null;
  generation: number;
  /** The first metrics seen of the running generation: the pace is measured from here. */
  paceFrom: { step: number; stage: number; elapsedS: number } | null;
  /** Counts notices, so that the bell looks again. */
  notices: number;
}

export const KEEP_LOGS = 500;
const KEEP_ALARMS = 40;

/** The state of a run as a page load finds it; the stream goes on from `lastId`. */
export function seed(job: Schemas["JobDetail"], history: Schemas["MetricsHistory"], logs: Schemas["LogLine"][]): RunLive {
  const curve = history.points.reduce(addPoint, emptyCurve());
  const setup: RunLive["setup"] = {};
  for (const stage of job.setup?.stages ?? []) {
    setup[stage.name] = { type: "setup", stage: stage.name, status: stage.status, progress: stage.progress, message: stage.logs.at(-1) ?? "" };
  }
  return {
    lastId: job.lastEventId, at: job.updatedAt, state: job.state, reason: job.reason, metrics: job.metrics ?? null, curve,
    resumes: takeovers(history.points, curve), evals: history.evals, experts: lastExperts(history.points), samples: job.samples, alarms: job.alarms ?? [], checkpoints: job.checkpoints,
    budget: {
      currentSpend: job.budget.currentSpend, maxBudget: job.budget.maxBudget, estimatedTotalSpend: job.budget.estimatedTotalSpend,
      spendRate: job.budget.spendRate, percent: job.budget.percentUsed, status: job.budget.status,
    },
    current: job.currentSample ?? null, setup, stages: job.stages, probe: job.probe ?? null, failure: job.failure ?? null,
    setupLogs: (job.setup?.stages ?? []).flatMap((stage) => stage.logs.map((message) => ({ stage: stage.name, message }))),
    freeze: job.freezeState ?? null, result: job.result ?? null, generation: job.generation, notices: 0, paceFrom: job.metrics ?? null,
    logs: logs.map((line) => ({ id: line.id, at: line.at, severity: line.severity, message: line.message })),
  };
}

function lastExperts(points: Schemas["MetricsPoint"][]): Experts | null {
  for (const point of [...points].reverse()) {
    const found = expertsOf(point.custom);
    if (found) return found;
  }
  return null;
}

function takeovers(points: Schemas["MetricsPoint"][], curve: Curve): number[] {
  const found: number[] = [];
  points.forEach((point, at) => {
    const before = points[at - 1];
    const place = curve.steps[at];
    if (before && place !== undefined && point.generation > before.generation) found.push(place);
  });
  return found;
}

/** Folds messages into the run. What was seen already (by id) changes nothing, so that a replay after a reconnect is harmless. */
export function reduce(run: RunLive, messages: Message[]): RunLive {
  const fresh = messages.filter((message) => message.id > run.lastId);
  if (fresh.length === 0) return run;
  const next: RunLive = { ...run };
  for (const message of fresh) {
    next.lastId = Math.max(next.lastId, message.id);
    next.at = message.at;
    apply(next, message);
  }
  return next;
}

function apply(run: RunLive, message: Message): void {
  const body = message.body;
  switch (body.type) {
    case "metrics":
      takeMetrics(run, message.generation, body);
      break;
    case "state":
      run.state = body.state;
      run.reason = body.reason ?? "";
      run.failure = body.state === "failed" ? (message.error ?? run.failure) : null;
      run.freeze = body.state === "frozen" ? (message.freezeState ?? run.freeze) : null;
      if (message.result) run.result = message.result;
      if (body.state === "setting_up") Object.assign(run, { setup: {}, setupLogs: [] });
      break;
    case "budget":
      run.budget = body;
      break;
    case "setup":
      run.setup = { ...run.setup, [body.stage]: { ...body, message: body.message ?? "" } };
      if (body.message) run.setupLogs = [...run.setupLogs, { stage: body.stage, message: body.message }].slice(-KEEP_LOGS);
      break;
    case "eval":
      run.evals = [...run.evals.filter((known) => known.stage !== body.stage || known.step !== body.step), body];
      break;
    case "sample":
      run.samples = [...run.samples.filter((known) => !sameSample(known, body)), body];
      break;
    case "checkpoint":
      run.checkpoints = [
        ...run.checkpoints.filter((known) => known.checkpointId !== body.checkpointId), { ...body, at: message.at, kept: true },
      ];
      break;
    case "alarm":
      run.alarms = [...run.alarms, body].slice(-KEEP_ALARMS);
      break;
    case "current_sample":
      run.current = body;
      break;
    case "stage":
      run.stages = run.stages.map((stage) => (stage.index === body.index ? moved(stage, body.status) : stage));
      break;
    case "probe":
      run.probe = body.result;
      break;
    case "result":
      run.result = body;
      break;
    case "notice":
      run.notices += 1;
      break;
    case "log":
      if (run.logs.some((known) => known.id === message.id)) break;
      run.logs = [...run.logs, { id: message.id, at: message.at, severity: body.severity ?? "info", message: body.message }].slice(-KEEP_LOGS);
      break;
  }
}

function takeMetrics(run: RunLive, generation: number, body: Of<"metrics">): void {
  const before = run.generation;
  if (!run.paceFrom || generation > before || body.stage !== run.paceFrom.stage) run.paceFrom = body;
  run.metrics = body;
  run.experts = expertsOf(body.custom) ?? run.experts;
  run.curve = addPoint(run.curve, body);
  const place = run.curve.steps.at(-1);
  run.resumes = run.resumes.filter((mark) => place === undefined || mark <= place);
  if (before && generation > before && run.curve.steps.length > 1 && place !== undefined) run.resumes = [...run.resumes, place];
  run.generation = Math.max(before, generation);
  run.stages = run.stages.map((stage) =>
    stage.index === body.stage && stage.status !== "completed"
      ? { ...stage, status: "running", progress: Math.min(1, body.step / Math.max(1, body.totalSteps)) }
      : stage,
  );
}

function moved(stage: Schemas["StageView"], status: Schemas["StageProgress"]["status"]): Schemas["StageView"] {
  if (status === "completed") return { ...stage, status, progress: 1 };
  return { ...stage, status: status === "started" ? "running" : status };
}

function sameSample(a: Schemas["QualitySample"], b: Schemas["QualitySample"]): boolean {
  return a.stage === b.stage && a.step === b.step && a.input === b.input && Boolean(a.base) === Boolean(b.base);
}
