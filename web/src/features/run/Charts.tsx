import { useMemo } from "react";
import { Chart, type Line, type Mark } from "./Chart";
import { place, verdict } from "./curve";
import type { RunLive } from "./reducer";

const small = (value: number): string => (value === 0 ? "0" : Math.abs(value) < 0.01 ? value.toExponential(1) : value.toPrecision(3));
const percent = (value: number): string => `${Math.round(value)} %`;

/** Four curves with one cursor. A verdict first; the curve is the evidence. */
export function Charts({ run }: { run: RunLive }) {
  const { curve, metrics } = run;
  const { loss, marks, machine } = useMemo(() => ({ loss: lossLines(run), marks: marksOf(run), machine: machineLines(run) }), [run]);
  const learning = useMemo((): Line[] => [{ name: "learning rate", values: curve.learningRate, colour: "hold" }], [curve]);
  const gradient = useMemo((): Line[] => [{ name: "gradient norm", values: curve.gradientNorm, colour: "mid" }], [curve]);
  if (!metrics || curve.steps.length === 0) return null;
  const last = curve.loss.at(-1);
  const gpus = metrics.gpuUtilization ?? [];
  return (
    <div className="grid gap-4 lg:grid-cols-2">
      <Chart title="Loss" verdict={`${verdict(curve)}${last == null ? "" : `: ${last.toFixed(3)}`}`} x={loss.x} lines={loss.lines} marks={marks} show={small} />
      <Chart title="Learning rate" verdict={`${metrics.learningRate.toExponential(1)} now`} x={curve.steps} lines={learning} marks={marks.filter((mark) => mark.colour === "info")} show={(value) => (value === 0 ? "0" : value.toExponential(1))} />
      <Chart title="Gradient norm" verdict={metrics.gradientNorm == null ? "Not a number" : `${small(metrics.gradientNorm)} now`} x={curve.steps} lines={gradient} marks={marks.filter((mark) => mark.colour === "info")} show={small} />
      <Chart title={gpus.length ? "GPU utilisation" : "Processor and memory"} verdict={machineVerdict(run)} x={curve.steps} lines={machine} show={percent} />
    </div>
  );
}

function lossLines(run: RunLive): { x: number[]; lines: Line[] } {
  const { curve } = run;
  if (!run.evals.length) return { x: curve.steps, lines: [{ name: "training loss", values: curve.loss, colour: "signal" }] };
  const held = new Map(run.evals.map((row) => [place(curve, row.stage, row.step), row.loss]));
  const extra = [...held.keys()].filter((at) => !curve.steps.includes(at));
  const x = extra.length ? [...curve.steps, ...extra].sort((a, b) => a - b) : curve.steps;
  const at = new Map(curve.steps.map((step, index) => [step, index]));
  return {
    x,
    lines: [
      { name: "training loss", values: x.map((step) => curve.loss[at.get(step) ?? -1] ?? null), colour: "signal" },
      { name: "held-out loss", values: x.map((step) => held.get(step) ?? null), colour: "hold", dash: true, points: true },
    ],
  };
}

function marksOf(run: RunLive): Mark[] {
  return [
    ...run.checkpoints.map((item): Mark => ({ at: place(run.curve, item.stage, item.step), name: "checkpoint", colour: "low", tick: true })),
    ...run.resumes.map((at): Mark => ({ at, name: "resumed here", colour: "info" })),
  ];
}

function machineLines(run: RunLive): Line[] {
  const { curve, metrics } = run;
  if ((metrics?.gpuUtilization ?? []).length) return [{ name: "GPU", values: curve.gpu, colour: "info" }];
  return [{ name: "processor %", values: curve.cpu, colour: "info" }, { name: "memory GB", values: curve.ram, colour: "mid", dash: true, right: (gb) => `${gb.toFixed(1)}` }];
}

function machineVerdict(run: RunLive): string {
  const metrics = run.metrics;
  const gpus = metrics?.gpuUtilization ?? [];
  if (metrics && gpus.length) {
    const used = metrics.gpuMemoryUsedGb ?? [];
    const total = metrics.gpuMemoryTotalGb ?? [];
    return gpus.map((share, at) => `GPU ${at}: ${Math.round(share)} %, ${used[at]?.toFixed(1) ?? "?"} of ${total[at]?.toFixed(0) ?? "?"} GB`).join("; ");
  }
  const parts = [
    ...(metrics?.cpuUtilization != null ? [`Processor ${Math.round(metrics.cpuUtilization)} %`] : []), ...(metrics?.ramUsedGb != null ? [`${metrics.ramUsedGb.toFixed(1)} GB`] : []),
  ];
  return parts.join(", ") || "Not reported";
}
