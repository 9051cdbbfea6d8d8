import { useEffect, useId, useRef, useState } from "react";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { Button } from "../../ui/Button";

type Show = (value: number) => string;

export interface Line {
  name: string;
  values: (number | null)[];
  colour: "signal" | "info" | "hold" | "mid";
  dash?: boolean;
  points?: boolean;
  /** Has its own scale, at the right. */
  right?: Show;
}

export interface Mark {
  at: number;
  name: string;
  colour: "info" | "hold" | "low";
  /** A tick at the foot instead of a line from top to bottom. */
  tick?: boolean;
}

/** First and last place shown; null shows all. */
export type Window = readonly [number, number] | null;

const COLOURS = { signal: "#5ee0c4", info: "#7cc0ff", hold: "#f2b866", mid: "#b3bec9", low: "#8f9baa" };
const HEIGHT = 190;
const REDRAW_MS = 500;
const TABLE_ROWS = 200;
const TICK = 9;
const MOST_DOTS = 25;
const LEAST_DRAG = 6;
const FONT = '11px "JetBrains Mono Variable", monospace';

/** A chart on solid ground: a sentence, the curve as evidence, and the same as a table. Redrawn at most twice a second. */
export function Chart({
  title, verdict, x, lines, marks = [], show, window: shown = null, onWindow,
}: { title: string; verdict: string; x: number[]; lines: Line[]; marks?: Mark[]; show: Show; window?: Window; onWindow: (window: Window) => void }) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot>(undefined);
  const fresh = useRef<Fresh>({ x, lines, marks, shown, onWindow });
  const drawnAt = useRef(0);
  const [table, setTable] = useState(false);
  const heading = useId();
  const shape = lines.map((line) => `${line.name}${line.colour}${line.dash ?? ""}${line.points ?? ""}`).join("|");
  useEffect(() => {
    fresh.current = { x, lines, marks, shown, onWindow };
  });
  useEffect(() => {
    const node = box.current;
    if (!node || table) return;
    const made = new uPlot(options(node.clientWidth, show, () => fresh.current), columns(fresh.current), node);
    plot.current = made;
    drawnAt.current = Date.now();
    const watch = new ResizeObserver(() => made.setSize({ width: node.clientWidth, height: HEIGHT }));
    watch.observe(node);
    return () => {
      watch.disconnect();
      made.destroy();
      plot.current = undefined;
    };
    // `show` belongs to the chart for good; `shape` says when lines come or go.
    // eslint-disable-next-line react-hooks/exhaustive-deps
  }, [shape, table]);
  useEffect(() => {
    const draw = () => {
      if (document.hidden || !plot.current) return;
      drawnAt.current = Date.now();
      plot.current.setData(columns(fresh.current));
    };
    const timer = setTimeout(draw, Math.max(0, REDRAW_MS - (Date.now() - drawnAt.current)));
    return () => clearTimeout(timer);
  }, [x, lines, marks]);
  const [from, to] = shown ?? [null, null];
  useEffect(() => {
    plot.current?.setData(columns(fresh.current));
  }, [from, to]);
  return (
    <section aria-labelledby={heading} className="card min-w-0 p-4 sm:p-5">
      <header className="flex items-start justify-between gap-3">
        <div className="min-w-0">
          <h2 id={heading} className="text-xs font-normal tracking-normal text-low">{title}</h2>
          <p className="text-base font-semibold break-words">{verdict}</p>
        </div>
        <Button look="quiet" icon={table ? "wave" : "table"} className="-mt-1 -mr-2 px-2.5" onClick={() => setTable(!table)}>
          <span className="visually-hidden sm:not-sr-only">{table ? "Curve" : "Table"}</span>
          <span className="visually-hidden"> of {title}</span>
        </Button>
      </header>
      {table ? <Table x={x} lines={lines} show={show} window={shown} /> : <div ref={box} aria-hidden="true" className="mt-2 w-full" style={{ height: HEIGHT }} />}
      {!table && <Legend lines={lines} marks={marks} />}
    </section>
  );
}

interface Fresh {
  x: number[];
  lines: Line[];
  marks: Mark[];
  shown: Window;
  onWindow: (window: Window) => void;
}

function columns({ x, lines }: Fresh): uPlot.AlignedData {
  return [x, ...lines.map((line) => line.values)] as uPlot.AlignedData;
}

function options(width: number, show: Show, fresh: () => Fresh): uPlot.Options {
  const { lines } = fresh();
  const axis = { stroke: COLOURS.low, font: FONT, grid: { stroke: "rgb(255 255 255 / 0.05)", width: 1 }, ticks: { show: false } };
  const right = lines.find((line) => line.right)?.right;
  return {
    width, height: HEIGHT, legend: { show: false }, padding: [10, 14, 0, 0],
    cursor: {
      sync: { key: "run" }, points: { size: 6 }, drag: { x: true, y: false, setScale: false },
      bind: { dblclick: () => () => { fresh().onWindow(null); return null; } },
    },
    // The window outlives every redraw, so that a live point does not undo a zoom.
    scales: { x: { time: false, range: (_plot, low, high) => [...(fresh().shown ?? [low, high > low ? high : low + 1])] as [number, number] }, ...(right && { right: { range: (_plot, _low, high) => [0, Math.max(high * 1.15, 0.1)] } }) },
    axes: [
      { ...axis, size: 28, values: (_plot, ticks) => ticks.map((tick) => (Number.isInteger(tick) ? String(tick) : "")) },
      { ...axis, size: 58, values: (_plot, ticks) => ticks.map((tick) => (tick === null ? "" : show(tick))) },
      ...(right ? [{ ...axis, scale: "right", side: 1 as const, size: 48, grid: { show: false }, values: (_plot: uPlot, ticks: number[]) => ticks.map(right) }] : []),
    ],
    series: [
      {},
      ...lines.map((line) => ({
        label: line.name, stroke: COLOURS[line.colour], width: 1.6, spanGaps: true, points: { show: (plot: uPlot, at: number) => Boolean(line.points) && (plot.data[at] ?? []).filter((value) => value != null).length <= MOST_DOTS, size: 6, fill: COLOURS[line.colour] },
        ...(line.dash && { dash: [6, 4] }), ...(line.right && { scale: "right" }),
      })),
    ],
    hooks: {
      setSelect: [
        (plot) => {
          const { left, width: wide } = plot.select;
          if (wide < LEAST_DRAG) return;
          fresh().onWindow([plot.posToVal(left, "x"), plot.posToVal(left + wide, "x")]);
          plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
        },
      ],
      draw: [
        (plot) => {
          const { ctx, bbox } = plot;
          for (const mark of fresh().marks) {
            const left = plot.valToPos(mark.at, "x", true);
            if (left < bbox.left || left > bbox.left + bbox.width) continue;
            ctx.save();
            ctx.strokeStyle = COLOURS[mark.colour];
            ctx.setLineDash(mark.tick ? [] : [4, 3]);
            ctx.lineWidth = 1.2;
            ctx.beginPath();
            ctx.moveTo(left, mark.tick ? bbox.top + bbox.height - TICK : bbox.top);
            ctx.lineTo(left, bbox.top + bbox.height);
            ctx.stroke();
            ctx.restore();
          }
        },
      ],
    },
  };
}

function Legend({ lines, marks }: { lines: Line[]; marks: Mark[] }) {
  const kinds = [...new Map(marks.map((mark) => [mark.name, mark])).values()];
  return (
    <ul className="mt-1 flex flex-wrap gap-x-4 gap-y-1 text-xs text-low">
      {lines.map((line) => (
        <li key={line.name} className="flex items-center gap-1.5">
          <svg aria-hidden="true" width="18" height="6"><line x1="0" y1="3" x2="18" y2="3" stroke={COLOURS[line.colour]} strokeWidth="2" strokeDasharray={line.dash ? "5 3" : ""} /></svg>
          {line.name}
        </li>
      ))}
      {kinds.map((mark) => (
        <li key={mark.name} className="flex items-center gap-1.5">
          <svg aria-hidden="true" width="6" height="12"><line x1="3" y1={mark.tick ? 5 : 0} x2="3" y2="12" stroke={COLOURS[mark.colour]} strokeWidth="1.5" strokeDasharray={mark.tick ? "" : "3 2"} /></svg>
          {mark.name}
        </li>
      ))}
    </ul>
  );
}

function Table({ x, lines, show, window: shown }: { x: number[]; lines: Line[]; show: Show; window: Window }) {
  const inside = x.map((_step, at) => at).filter((at) => !shown || ((x[at] ?? 0) >= shown[0] && (x[at] ?? 0) <= shown[1]));
  const size = Math.max(1, Math.ceil(inside.length / TABLE_ROWS));
  const rows = inside.filter((_at, place) => place % size === 0 || place === inside.length - 1);
  return (
    <div className="mt-2 overflow-auto" style={{ maxHeight: HEIGHT }} tabIndex={0} role="group" aria-label="Values">
      <table className="num w-full text-right text-xs">
        <thead className="text-low"><tr><th scope="col" className="py-1 text-left font-normal">step</th>{lines.map((line) => <th key={line.name} scope="col" className="py-1 font-normal">{line.name}</th>)}</tr></thead>
        <tbody>
          {rows.map((at) => (
            <tr key={at} className="border-t border-edge">
              <th scope="row" className="py-1 text-left font-normal text-mid">{x[at]}</th>
              {lines.map((line) => <td key={line.name} className="py-1">{line.values[at] == null ? "–" : (line.right ?? show)(line.values[at])}</td>)}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
