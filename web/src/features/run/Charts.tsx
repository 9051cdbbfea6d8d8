import { useMemo, useState } from "react";
import { Button } from "../../ui/Button";
import { toast } from "../../ui/Toasts";
import { Chart, type Line, type Mark, type Window } from "./Chart";
import { type Curve, place, verdict } from "./curve";
import type { RunLive } from "./reducer";

const small = (value: number): string => (value === 0 ? "0" : Math.abs(value) < 0.01 ? value.toExponential(1) : value.toPrecision(3));
const rate = (value: number): string => (value === 0 ? "0" : value.toExponential(1));
const percent = (value: number): string => `${Math.round(value)} %`;
const SHARES = [[1, "All steps"], [0.5, "Last half"], [0.1, "Last tenth"]] as const;
const LEAST_STEPS = 20;

/** What is looked at: a share at the end, which moves with the run, or a part that was drawn with the pointer. */
type View = number | Window;

function windowOf(view: View, curve: Curve): Window {
  if (typeof view !== "number") return view;
  const [first, last] = [curve.steps[0] ?? 0, curve.steps.at(-1) ?? 0];
  return view < 1 && last > first ? [last - view * (last - first), last] : null;
}

/** Four curves with one cursor and one window. A verdict first; the curve is the evidence. */
export function Charts({ run, onLook }: { run: RunLive; onLook: (from: number, to: number) => Promise<void> }) {
  const { curve, metrics } = run;
  const [view, setView] = useState<View>(1);
  const { loss, marks, machine } = useMemo(() => ({ loss: lossLines(run), marks: marksOf(run), machine: machineLines(run) }), [run]);
  const learning = useMemo((): Line[] => [{ name: "learning rate", values: curve.learningRate, colour: "hold" }], [curve]);
  const gradient = useMemo((): Line[] => [{ name: "gradient norm", values: curve.gradientNorm, colour: "mid" }], [curve]);
  if (!metrics || curve.steps.length === 0) return null;
  const shown = windowOf(view, curve);
  const look = (next: View) => {
    setView(next ?? 1);
    const part = windowOf(next, curve);
    if (part) onLook(part[0], part[1]).catch(() => toast("The finer points could not be loaded; the coarse curve is shown.", "fault"));
  };
  const last = curve.loss.at(-1);
  const gpus = metrics.gpuUtilization ?? [];
  const same = { window: shown, onWindow: look };
  return (
    <section aria-label="Curves" className="grid gap-3">
      {curve.steps.length >= LEAST_STEPS && <Shown view={view} shown={shown} onView={look} />}
      <div className="grid gap-4 lg:grid-cols-2">
        <Chart {...same} title="Loss" verdict={`${verdict(curve)}${last == null ? "" : `: ${last.toFixed(3)}`}`} x={loss.x} lines={loss.lines} marks={marks} show={small} />
        <Chart {...same} title="Learning rate" verdict={`${rate(metrics.learningRate)} now`} x={curve.steps} lines={learning} marks={marks.filter((mark) => mark.colour === "info")} show={rate} />
        <Chart {...same} title="Gradient norm" verdict={metrics.gradientNorm == null ? "Not a number" : `${small(metrics.gradientNorm)} now`} x={curve.steps} lines={gradient} marks={marks.filter((mark) => mark.colour === "info")} show={small} />
        <Chart {...same} title={gpus.length ? "GPU utilisation" : "Processor and memory"} verdict={machineVerdict(run)} x={curve.steps} lines={machine} show={percent} />
      </div>
    </section>
  );
}

/** Which steps the charts show: the same by button as by drawing over a chart. */
function Shown({ view, shown, onView }: { view: View; shown: Window; onView: (view: View) => void }) {
  return (
    <div className="flex flex-wrap items-center justify-between gap-x-4 gap-y-1">
      <div role="group" aria-label="Steps shown" className="flex gap-1">
        {SHARES.map(([share, name]) => (
          <Button key={share} look={view === share ? "plain" : "quiet"} aria-pressed={view === share} className="min-h-9 px-3" onClick={() => onView(share)}>{name}</Button>
        ))}
      </div>
      <p className={`num text-xs text-low ${shown ? "" : "hidden sm:block"}`}>{shown ? `steps ${Math.ceil(shown[0])} to ${Math.floor(shown[1])}` : "draw over a chart to look closer"}</p>
    </div>
  );
}

function lossLines(run: RunLive): { x: number[]; lines: Line[] } {
  const { curve } = run;
  if (!run.evals.length) return { x: curve.steps, lines: [{ name: "training loss", values: curve.loss, colour: "signal" }] };
  const held = new Map(run.evals.map((row) => [place(curve, row.stage, row.step), row.loss]));
  const at = new Map(curve.steps.map((step, index) => [step, index]));
  const extra = [...held.keys()].filter((step) => !at.has(step));
  const x = extra.length ? [...curve.steps, ...extra].sort((a, b) => a - b) : curve.steps;
  return {
    x,
    lines: [
      { name: "training loss", values: extra.length ? x.map((step) => curve.loss[at.get(step) ?? -1] ?? null) : curve.loss, colour: "signal" },
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
