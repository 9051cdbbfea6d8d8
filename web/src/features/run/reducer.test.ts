import { describe, expect, it } from "vitest";
import type { Schemas } from "../../lib/api";
import { addPoint, emptyCurve, merge, place, stageAt, thin, verdict } from "./curve";
import { type Message, reduce, type RunLive, seed } from "./reducer";

const point = (step: number, loss: number, stage = 0) => ({ stage, step, totalSteps: 10, loss, learningRate: 1, gradientNorm: 1 });

const metrics = (id: number, step: number, generation = 1, stage = 0): Message =>
  ({
    id, jobId: "j", generation, seq: id, at: "2026-01-01T00:00:00Z", type: "metrics",
    body: { type: "metrics", ...point(step, 3 - step / 10, stage), epoch: 0, totalEpochs: 1, tokens: 1, tokensPerSecond: 1, samplesProcessed: 1, totalSamples: 1, elapsedS: 1 },
  }) as unknown as Message;

const said = (id: number, body: Record<string, unknown>, extra: Record<string, unknown> = {}): Message =>
  ({ id, jobId: "j", generation: 0, seq: id, at: "2026-01-01T00:00:01Z", type: body.type, body, ...extra }) as unknown as Message;

function start(): RunLive {
  const job = {
    state: "training", reason: "", lastEventId: 0, updatedAt: "2026-01-01T00:00:00Z", samples: [], checkpoints: [], evals: [], generation: 0,
    budget: { currentSpend: 0, maxBudget: 5, estimatedTotalSpend: 1, spendRate: 1, percentUsed: 0, status: "within_budget" },
    stages: [{ index: 0, name: "Fine-tune", method: "lora", status: "pending", progress: 0, requiresApproval: false }],
  } as unknown as Schemas["JobDetail"];
  return seed(job, { points: [], total: 0, evals: [], resumes: [], lastEventId: 0 }, []);
}

describe("the run reducer", () => {
  it("gives the same run for any repetition and any cut of the messages", () => {
    const all = [metrics(1, 1), metrics(2, 2), said(3, { type: "log", message: "hello" }), metrics(4, 3), said(5, { type: "state", state: "freezing" })];
    const once = reduce(start(), all);
    let many = start();
    for (let cut = 1; cut <= all.length; cut += 1) many = reduce(many, all.slice(0, cut));
    expect(many.curve).toEqual(once.curve);
    expect(many.logs).toEqual(once.logs);
    expect(once.state).toBe("freezing");
    expect(once.lastId).toBe(5);
    expect(reduce(once, all)).toBe(once);
  });

  it("marks where a later generation took over, and replaces what it trained again", () => {
    const run = reduce(start(), [metrics(1, 1), metrics(2, 2), metrics(3, 3), metrics(4, 3, 2), metrics(5, 4, 2)]);
    expect(run.curve.steps).toEqual([1, 2, 3, 4]);
    expect(run.resumes).toEqual([3]);
    const back = reduce(run, [metrics(6, 2, 3)]);
    expect(back.curve.steps).toEqual([1, 2]);
    expect(back.resumes).toEqual([2]);
  });

  it("measures the pace from what it saw of this generation", () => {
    expect(reduce(start(), [metrics(1, 4), metrics(2, 5), metrics(3, 9)]).paceFrom?.step).toBe(4);
    expect(reduce(start(), [metrics(1, 4), metrics(2, 3, 2), metrics(3, 9, 2)]).paceFrom?.step).toBe(3);
  });

  it("puts the steps of a second stage after those of the first", () => {
    const run = reduce(start(), [metrics(1, 9), metrics(2, 10), metrics(3, 1, 1, 1)]);
    expect(run.curve.steps).toEqual([9, 10, 11]);
    expect(place(run.curve, 1, 4)).toBe(14);
  });

  it("keeps failure and freeze only while they hold", () => {
    const failure = { code: "out_of_memory", message: "Out of memory.", nextStep: "", kept: "" };
    const failed = reduce(start(), [said(1, { type: "state", state: "failed" }, { error: failure })]);
    expect(failed.failure).toEqual(failure);
    expect(reduce(failed, [said(2, { type: "state", state: "queued" })]).failure).toBeNull();
  });

  it("keeps what was last told of experts, also when a later stage has none", () => {
    const update = metrics(1, 1) as unknown as { body: object };
    const told = { ...update, body: { ...update.body, custom: { expert_0_low_noise: 1 } } } as unknown as Message;
    expect(reduce(start(), [metrics(1, 1)]).experts).toBeNull();
    expect(reduce(start(), [told, metrics(2, 2)]).experts?.low).toEqual([1]);
  });

  it("replaces a checkpoint and an evaluation that are told again", () => {
    const checkpoint = { type: "checkpoint", checkpointId: "a", stage: 0, step: 5, bytes: 1, manifestSha256: "", seconds: 1 };
    const held = { type: "eval", stage: 0, step: 5, loss: 1, rows: 1, tokens: 1 };
    const run = reduce(start(), [said(1, checkpoint), said(2, checkpoint), said(3, held), said(4, { ...held, loss: 2 })]);
    expect(run.checkpoints).toHaveLength(1);
    expect(run.evals.map((row) => row.loss)).toEqual([2]);
  });
});

describe("curves", () => {
  it("keep a spike when they are thinned", () => {
    let curve = emptyCurve();
    for (let step = 1; step <= 7000; step += 1) curve = addPoint(curve, { ...point(step, step === 4321 ? 99 : 1), totalSteps: 7000 });
    const small = thin(curve, 200);
    expect(small.steps.length).toBeLessThanOrEqual(200);
    expect(Math.max(...small.loss.map(Number))).toBe(99);
  });

  it("take finer points in between, and keep what they had", () => {
    const coarse = [1, 5, 9].reduce((curve, step) => addPoint(curve, { ...point(step, step), totalSteps: 10 }), emptyCurve());
    const fine = merge(coarse, [3, 5, 7].map((step) => point(step, 100 + step)));
    expect(fine.steps).toEqual([1, 3, 5, 7, 9]);
    expect(fine.loss).toEqual([1, 103, 5, 107, 9]);
    expect(merge(fine, [point(5, 0)])).toBe(fine);
    expect(addPoint(fine, point(10, 4)).steps.at(-1)).toBe(10);
  });

  it("know the stage of a place", () => {
    const stages = { stageSteps: [10, 20, 5] };
    expect(stageAt(stages, 4)).toEqual({ stage: 0, before: 0 });
    expect(stageAt(stages, 10)).toEqual({ stage: 0, before: 0 });
    expect(stageAt(stages, 11)).toEqual({ stage: 1, before: 10 });
    expect(stageAt(stages, 33)).toEqual({ stage: 2, before: 30 });
  });

  it("says what the loss does", () => {
    const of = (values: number[]) => values.reduce((curve, loss, at) => addPoint(curve, point(at + 1, loss)), emptyCurve());
    expect(verdict(of([3, 2]))).toBe("Too early to say");
    expect(verdict(of([3, 2.8, 2.6, 2.4, 2.2, 2, 1.8, 1.6]))).toBe("Loss is still falling");
    expect(verdict(of([1, 1, 1, 1, 1, 1, 1, 1]))).toBe("Loss has levelled off");
    expect(verdict(of([1, 1, 1, 1, 1.5, 2, 2.5, 3]))).toBe("Loss is rising");
    expect(verdict(of([1, Number.NaN]))).toBe("The loss is not a number");
  });
});
