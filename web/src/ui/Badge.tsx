import type { ReactNode } from "react";
import { Icon, type IconName } from "./Icon";

export type Tone = "signal" | "hold" | "fault" | "info" | "plain";

const TONES: Record<Tone, string> = {
  signal: "text-signal border-signal/40",
  hold: "text-hold border-hold/40",
  fault: "text-fault border-fault/40",
  info: "text-info border-info/40",
  plain: "text-mid border-line/60",
};

/** A word with a shape, never colour alone. */
export function Badge({ tone = "plain", icon, children }: { tone?: Tone; icon?: IconName; children: ReactNode }) {
  return (
    <span className={`inline-flex items-center gap-1.5 rounded-full border px-2.5 py-0.5 text-xs whitespace-nowrap ${TONES[tone]}`}>
      {icon && <Icon name={icon} size={14} />}
      {children}
    </span>
  );
}

const STATES: Record<string, { tone: Tone; icon: IconName; word: string }> = {
  queued: { tone: "plain", icon: "clock", word: "Queued" },
  setting_up: { tone: "hold", icon: "config", word: "Setting up" },
  training: { tone: "signal", icon: "wave", word: "Training" },
  freezing: { tone: "info", icon: "frost", word: "Freezing" },
  frozen: { tone: "info", icon: "frost", word: "Frozen" },
  awaiting_approval: { tone: "hold", icon: "flag", word: "Needs approval" },
  stopping: { tone: "plain", icon: "stop", word: "Stopping" },
  stopped: { tone: "plain", icon: "stop", word: "Stopped" },
  completed: { tone: "signal", icon: "check", word: "Complete" },
  failed: { tone: "fault", icon: "alert", word: "Failed" },
};

export function StateBadge({ state }: { state: string }) {
  const look = STATES[state] ?? { tone: "plain" as const, icon: "info" as const, word: state };
  return <Badge tone={look.tone} icon={look.icon}>{look.word}</Badge>;
}
