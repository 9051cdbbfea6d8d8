import type { Schemas } from "../../lib/api";
import { bytes, duration, money } from "../../lib/format";
import { Badge, type Tone } from "../../ui/Badge";
import { Card, Facts } from "../../ui/Card";
import { Disclosure } from "../../ui/Disclosure";
import { Icon, type IconName } from "../../ui/Icon";
import { Bar } from "../../ui/Progress";

export type Progress = Partial<Record<Schemas["SetupProgress"]["stage"], Schemas["SetupProgress"]>>;

const STAGES: { name: Schemas["SetupProgress"]["stage"]; title: string; icon: IconName; does: string }[] = [
  { name: "provisioning", title: "Compute", icon: "gpu", does: "asks for the machine and waits for it" },
  { name: "storage", title: "Storage", icon: "data", does: "folders for data, checkpoints and results" },
  { name: "framework", title: "Training framework", icon: "method", does: "loads the libraries and the base model" },
  { name: "data", title: "Data pipeline", icon: "list", does: "reads, packs and checks the rows" },
  { name: "monitoring", title: "Monitoring", icon: "wave", does: "metrics, checkpoints, budget hooks" },
  { name: "verification", title: "Verification", icon: "check", does: "a smoke test on this very machine" },
];
const LOOKS: Record<string, { tone: Tone; word: string }> = {
  pending: { tone: "plain", word: "Waiting" }, running: { tone: "hold", word: "Running" }, completed: { tone: "signal", word: "Done" }, failed: { tone: "fault", word: "Failed" },
};

/** The six stages from nothing to a verified place to train. */
export function Setup({ setup, logs, queuePlace }: { setup: Progress; logs: { stage: string; message: string }[]; queuePlace: number | null }) {
  const done = STAGES.filter((stage) => setup[stage.name]?.status === "completed").length;
  return (
    <div className="grid gap-4">
      {queuePlace !== null && (
        <p role="status" className="card flex items-center gap-3 p-4 text-sm text-mid">
          <Icon name="clock" className="text-hold" />
          {queuePlace > 1 ? `Place ${queuePlace} in the queue: ${queuePlace - 1} run${queuePlace > 2 ? "s are" : " is"} before this one. Nothing bills while it waits.` : "Next in the queue. Nothing bills while it waits."}
        </p>
      )}
      <Card title="Setting up" aside={<span className="num text-xs text-low">{done} of {STAGES.length}</span>}>
        <ol className="grid gap-1">
          {STAGES.map((stage) => {
            const now = setup[stage.name];
            const look = LOOKS[now?.status ?? "pending"] ?? { tone: "plain" as const, word: now?.status ?? "" };
            return (
              <li key={stage.name} aria-current={now?.status === "running" ? "step" : undefined} className={`grid grid-cols-[auto_1fr_auto] items-center gap-x-4 gap-y-2 rounded-field px-3 py-3 ${now?.status === "running" ? "bg-ink-850" : ""}`}>
                <span className={`grid size-9 place-items-center rounded-full border ${now?.status === "completed" ? "border-signal/50 text-signal" : "border-line/50 text-low"}`}>
                  <Icon name={now?.status === "completed" ? "check" : stage.icon} size={18} />
                </span>
                <span className="min-w-0">
                  <span className="block text-sm font-medium">{stage.title}</span>
                  <span className="block text-xs break-words text-low">{now?.message || stage.does}</span>
                </span>
                <Badge tone={look.tone}>{look.word}</Badge>
                {now?.status === "running" && <span className="col-span-3"><Bar value={now.progress} label={stage.title} tone="hold" /></span>}
              </li>
            );
          })}
        </ol>
      </Card>
      {logs.length > 0 && (
        <Disclosure title="What was done" aside={<span className="num text-xs text-low">{logs.length}</span>}>
          <ul className="num grid max-h-64 gap-1 overflow-auto text-xs" tabIndex={0} aria-label="Set-up log">
            {logs.map((line, at) => <li key={at} className="grid grid-cols-[7rem_1fr] gap-3"><span className="text-low">{line.stage}</span><span className="min-w-0 break-words text-mid">{line.message}</span></li>)}
          </ul>
        </Disclosure>
      )}
    </div>
  );
}

type Measured = Schemas["ProbeResult"];

/** What came of training on the same few rows again and again. */
function fitted(probe: Measured): [string, string] {
  const [first, last] = [probe.lossFirst, probe.lossLast].map((one) => (one == null ? "no number" : String(Number(one.toPrecision(4)))));
  if (!probe.fittedRows) return ["Loss in the test", `${first} to ${last}`];
  const what = probe.fitted === "answers" ? "answers of its own" : "rows";
  return [`Loss on ${probe.fittedRows} ${what}`, `${first} to ${last} in ${probe.fittedUpdates} update${probe.fittedUpdates === 1 ? "" : "s"}`];
}

/** What the smoke test measured before the meter mattered. */
export function Probe({ probe, expected }: { probe: Measured; expected: number }) {
  const taught: [string, string][] = [];
  if (probe.supervisedFraction != null) taught.push(["Tokens that teach", share(probe.supervisedFraction)]);
  if (probe.supervisedRows != null && probe.supervisedRows < 1) taught.push(["Rows that teach", share(probe.supervisedRows)]);
  if (probe.eosSupervised != null) taught.push(["End of a turn", probe.eosSupervised ? "learnt" : "not learnt: answers may never end"]);
  const aside = (
    <span className="flex flex-wrap justify-end gap-2">
      {probe.eosSupervised === false && <Badge tone="hold" icon="alert">Ends of turns are not learnt</Badge>}
      <Badge tone={probe.learns ? "signal" : "fault"} icon={probe.learns ? "check" : "alert"}>{probe.learns ? "It learns" : "It does not learn"}</Badge>
    </span>
  );
  return (
    <Disclosure title="Measured by the smoke test" aside={aside}>
      <Facts
        columns={3}
        rows={[
          ["Seconds per step", `${probe.secondsPerStep.toFixed(2)} ± ${Math.round(probe.stepSecondsSpread * 100)} %`],
          ["Speed", `${Math.round(probe.tokensPerSecond).toLocaleString("en-US")} tokens/s`],
          ["Peak memory", `${probe.peakMemoryGb.toFixed(2)} GB`],
          ["Steps in all", probe.totalSteps.join(" + ")],
          ["A checkpoint", `${probe.checkpointS.toFixed(1)} s, ${bytes(probe.checkpointBytes)}`],
          ["An evaluation", duration(probe.evalS)],
          fitted(probe),
          ["Weights that moved", share(probe.movedFraction)],
          ...taught,
          ["Expected in all", money(expected)],
        ]}
      />
    </Disclosure>
  );
}

function share(part: number): string {
  return `${part > 0 && part < 0.01 ? (part * 100).toFixed(2) : Math.round(part * 100)} %`;
}
