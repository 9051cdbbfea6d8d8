import { duration } from "../../lib/format";
import type { How } from "../../lib/follow";
import { useNow } from "../../lib/useNow";
import { Badge, type Tone } from "../../ui/Badge";
import type { IconName } from "../../ui/Icon";

const LOOKS: Record<How, { tone: Tone; icon: IconName; word: string }> = {
  connecting: { tone: "plain", icon: "clock", word: "Connecting" },
  live: { tone: "signal", icon: "live", word: "Live" },
  reconnecting: { tone: "hold", icon: "retry", word: "Reconnecting" },
  polling: { tone: "hold", icon: "retry", word: "Asking every 2 s" },
  offline: { tone: "fault", icon: "alert", word: "No connection" },
  asleep: { tone: "plain", icon: "clock", word: "Asleep" },
};
const STALE_S = 12;

/** When the server was last heard of, in words. Never a frozen number that looks live. */
export function Heard({ how, heardAt, quiet = false }: { how: How; heardAt: number; quiet?: boolean }) {
  const now = useNow();
  const seconds = Math.max(0, (now - heardAt) / 1000);
  const look = LOOKS[how];
  const stale = !quiet && seconds > STALE_S;
  return (
    <span className="inline-flex flex-wrap items-center gap-2">
      <Badge tone={stale && how === "live" ? "hold" : look.tone} icon={look.icon}>{stale && how === "live" ? "Quiet" : look.word}</Badge>
      {stale && <span className="num text-xs text-low">last update {duration(seconds)} ago</span>}
    </span>
  );
}

export function isStale(how: How): boolean {
  return how === "offline" || how === "reconnecting";
}
