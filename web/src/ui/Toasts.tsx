import { AnimatePresence } from "motion/react";
import * as m from "motion/react-m";
import { useEffect, useSyncExternalStore } from "react";
import { IconButton } from "./Button";
import { Icon, type IconName } from "./Icon";

interface Toast {
  id: number;
  text: string;
  tone: "signal" | "fault" | "info";
}

const SHOWN_MS = 6000;
let toasts: Toast[] = [];
let count = 0;
const listeners = new Set<() => void>();

function set(next: Toast[]): void {
  toasts = next;
  listeners.forEach((listener) => listener());
}

/** Says in passing that something happened. Errors that need an answer belong where they happened, not here. */
export function toast(text: string, tone: Toast["tone"] = "signal"): void {
  count += 1;
  set([...toasts.slice(-2), { id: count, text, tone }]);
}

const ICONS: Record<Toast["tone"], IconName> = { signal: "check", fault: "alert", info: "info" };
const TONES: Record<Toast["tone"], string> = { signal: "text-signal", fault: "text-fault", info: "text-info" };

export function Toasts() {
  const shown = useSyncExternalStore((listener) => (listeners.add(listener), () => listeners.delete(listener)), () => toasts);
  const last = shown.at(-1)?.id;
  useEffect(() => {
    if (last === undefined) return;
    const timer = setTimeout(() => set(toasts.filter((item) => item.id > last)), SHOWN_MS);
    return () => clearTimeout(timer);
  }, [last]);
  return (
    <div role="status" aria-live="polite" className="pointer-events-none fixed inset-x-4 bottom-4 z-40 grid justify-items-center gap-2 sm:left-auto sm:w-96">
      <AnimatePresence>
        {shown.map((item) => (
          <m.div
            key={item.id} initial={{ opacity: 0, y: 8 }} animate={{ opacity: 1, y: 0 }} exit={{ opacity: 0 }} transition={{ duration: 0.2 }}
            className="glass-over pointer-events-auto flex w-full items-center gap-3 py-1 pr-1 pl-4 text-sm"
          >
            <Icon name={ICONS[item.tone]} className={TONES[item.tone]} />
            <span className="min-w-0 flex-1 break-words">{item.text}</span>
            <IconButton icon="close" label="Dismiss" onClick={() => set(toasts.filter((known) => known.id !== item.id))} />
          </m.div>
        ))}
      </AnimatePresence>
    </div>
  );
}
